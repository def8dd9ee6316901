//! Conditions and values.

use ditto_types::Value;

use crate::reference::expr::{Binary, Case, Expr, Quantifier, Source, Test};
use crate::reference::functions::FUNCTIONS;
use crate::reference::generate::Tape;
use crate::reference::generate::values::{FIELDS, field, id, number, text};

/// The names that an expression may use.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// How fields are qualified; `None` in the list leaves them bare.
    pub(crate) sources: Vec<Option<String>>,
    /// Names bound by quantifiers around it.
    pub(crate) bound: Vec<String>,
}

impl Names {
    pub(crate) fn bare() -> Self {
        Self { sources: vec![None], bound: Vec::new() }
    }

    fn binding(&self, name: &str) -> Self {
        let mut inner = self.clone();
        inner.bound.push(name.to_owned());
        inner
    }
}

const COMPARISONS: [Binary; 6] =
    [Binary::Equal, Binary::Less, Binary::Greater, Binary::LessEqual, Binary::GreaterEqual, Binary::NotEqual];

/// A field and a value that it could have.
fn pair(tape: &mut Tape, names: &Names) -> (Expr, Expr) {
    let source = tape.pick(&names.sources).clone();
    let (path, value) = match tape.below(11) {
        at @ 0..=7 => {
            let name = FIELDS[at as usize];
            (vec![name], field(tape, name).unwrap_or(Value::Int(1)))
        }
        8 => (vec!["o", "x"], field(tape, "a").unwrap_or(Value::Int(1))),
        9 => (vec!["o", "y", "z"], number(tape)),
        _ => (vec!["_id"], id(tape)),
    };
    let path = Expr::Path(source, path.into_iter().map(str::to_owned).collect());
    (path, constant(tape, value))
}

/// A value as a literal or an argument.
pub(crate) fn constant(tape: &mut Tape, value: Value) -> Expr {
    let scalar = !matches!(value, Value::Array(_) | Value::Object(_));
    if scalar && tape.chance(1, 2) { Expr::Literal(value) } else { Expr::Argument(value) }
}

/// A condition as applications write them: what indexes are for.
pub(crate) fn condition(tape: &mut Tape, names: &Names, depth: u32) -> Expr {
    let forms = if depth == 0 { 10 } else { 16 };
    match tape.below(forms) {
        0..=3 => {
            let (path, value) = pair(tape, names);
            let op = *tape.pick(&COMPARISONS);
            // The other way round as well.
            if tape.chance(1, 8) {
                Expr::Binary(op, value.into(), path.into())
            } else {
                Expr::Binary(op, path.into(), value.into())
            }
        }
        4 => {
            let (path, low) = pair(tape, names);
            let high = number(tape);
            Expr::Between(path.into(), low.into(), constant(tape, high).into(), tape.chance(1, 4))
        }
        5 => {
            let (path, first) = pair(tape, names);
            let mut list = vec![first];
            for _ in 0..tape.below(3) {
                list.push(pair(tape, names).1);
            }
            Expr::InList(path.into(), list, tape.chance(1, 4))
        }
        6 => {
            let (path, first) = pair(tape, names);
            let mut list: Vec<Value> = Vec::new();
            if let Expr::Literal(v) | Expr::Argument(v) = first {
                list.push(v);
            }
            for _ in 0..tape.below(3) {
                list.push(number(tape));
            }
            Expr::InArray(path.into(), Expr::Argument(Value::Array(list)).into(), tape.chance(1, 4))
        }
        7 => {
            let (path, _) = pair(tape, names);
            let test = if tape.chance(1, 2) { Test::Null } else { Test::Missing };
            Expr::Is(path.into(), test, tape.chance(1, 3))
        }
        8 => {
            let source = tape.pick(&names.sources).clone();
            let b = Expr::Path(source, vec!["b".to_owned()]);
            let pattern = *tape.pick(&["a%", "ab%", "%b", "_", "a_%", "%", "\\\\%", "\\%", "ab", "é%"]);
            let pattern = constant(tape, pattern.into());
            Expr::Like(b.into(), pattern.into(), tape.chance(1, 4), tape.chance(1, 4))
        }
        9 => pair(tape, names).0,
        10 => Expr::Not(condition(tape, names, depth - 1).into()),
        11 => quantified(tape, names, depth),
        12 => value(tape, names, depth),
        at => {
            let op = [Binary::And, Binary::And, Binary::Or][at as usize - 13];
            let op = if op == Binary::Or && tape.chance(1, 8) { Binary::Xor } else { op };
            let (a, b) = (condition(tape, names, depth - 1), condition(tape, names, depth - 1));
            Expr::Binary(op, a.into(), b.into())
        }
    }
}

fn source(tape: &mut Tape, names: &Names, within: bool) -> Source {
    let of = match tape.below(6) {
        0..=2 => Expr::Path(tape.pick(&names.sources).clone(), vec!["l".to_owned()]),
        3 => Expr::Path(tape.pick(&names.sources).clone(), vec!["o".to_owned()]),
        4 => Expr::Argument(Value::Array(vec![Value::Int(1), text(tape), Value::Null])),
        _ => pair(tape, names).0,
    };
    let key = tape.chance(1, 4).then(|| "i".to_owned());
    Source { key, name: "v".to_owned(), within, of }
}

fn quantified(tape: &mut Tape, names: &Names, depth: u32) -> Expr {
    // With WITHIN only scalars are asked for: whether containers are elements as well is nowhere said.
    let within = tape.chance(1, 4);
    let source = source(tape, names, within);
    let variable = Expr::Variable("v".to_owned(), Vec::new());
    if within {
        let wanted = if tape.chance(1, 2) { number(tape) } else { text(tape) };
        let holds = Expr::Binary(Binary::Equal, variable.into(), constant(tape, wanted).into());
        return Expr::Quantified(Quantifier::Any, source.into(), holds.into());
    }
    let kind = *tape.pick(&[Quantifier::Any, Quantifier::Every, Quantifier::AnyAndEvery]);
    let holds = match tape.below(4) {
        0 => Expr::Binary(*tape.pick(&COMPARISONS), variable.into(), pair(tape, names).1.into()),
        1 => {
            let x = Expr::Variable("v".to_owned(), vec!["x".to_owned()]);
            Expr::Binary(Binary::Greater, x.into(), Expr::Literal(Value::Int(0)).into())
        }
        2 => Expr::Is(variable.into(), Test::Null, tape.chance(1, 2)),
        _ => condition(tape, &names.binding("v"), depth.saturating_sub(1)),
    };
    Expr::Quantified(kind, source.into(), holds.into())
}

fn transform(tape: &mut Tape, names: &Names, depth: u32) -> Expr {
    let source = source(tape, names, false);
    let inner = names.binding("v");
    let when = tape.chance(1, 2).then(|| condition(tape, &inner, depth.saturating_sub(1)).into());
    let element = value(tape, &inner, depth.saturating_sub(1));
    if tape.chance(1, 3) {
        let source = Source {
            key: Some("i".to_owned()),
            of: Expr::Path(names.sources[0].clone(), vec!["o".into()]),
            ..source
        };
        let key = Expr::Variable("i".to_owned(), Vec::new());
        return Expr::ObjectFor(key.into(), element.into(), source.into(), when);
    }
    Expr::ArrayFor(element.into(), source.into(), when)
}

/// Any value.
pub(crate) fn value(tape: &mut Tape, names: &Names, depth: u32) -> Expr {
    if depth == 0 || tape.is_over() {
        return match tape.below(4) {
            0 | 1 => pair(tape, names).0,
            2 => match names.bound.last() {
                Some(name) => Expr::Variable(name.clone(), Vec::new()),
                None => pair(tape, names).1,
            },
            _ => pair(tape, names).1,
        };
    }
    let inner = depth - 1;
    match tape.below(12) {
        0 | 1 => pair(tape, names).0,
        2 => pair(tape, names).1,
        3 | 4 => {
            let op = *tape.pick(&[
                Binary::Add,
                Binary::Subtract,
                Binary::Multiply,
                Binary::Divide,
                Binary::Remainder,
                Binary::Concat,
            ]);
            Expr::Binary(op, value(tape, names, inner).into(), value(tape, names, inner).into())
        }
        5 | 6 => call(tape, names, inner),
        7 => condition(tape, names, inner),
        8 => {
            let operand = tape.chance(1, 2).then(|| value(tape, names, inner));
            let mut branches = Vec::new();
            for _ in 0..=tape.below(2) {
                let when = match operand {
                    Some(_) => value(tape, names, 0),
                    None => condition(tape, names, inner),
                };
                branches.push((when, value(tape, names, inner)));
            }
            let otherwise = tape.chance(1, 2).then(|| value(tape, names, inner));
            Expr::Case(Box::new(Case { operand, branches, otherwise }))
        }
        9 => match tape.below(4) {
            0 => Expr::Negate(value(tape, names, inner).into()),
            1 => {
                // Floats and texts have printed forms that the reference leaves open.
                let to = *tape.pick(&["float", "boolean"]);
                Expr::Cast(Expr::Path(names.sources[0].clone(), vec!["a".to_owned()]).into(), to)
            }
            2 => Expr::Array(vec![value(tape, names, inner), value(tape, names, inner)]),
            _ => Expr::Object(vec![
                ("x".to_owned(), value(tape, names, inner)),
                ("w".to_owned(), value(tape, names, 0)),
            ]),
        },
        10 => transform(tape, names, inner),
        _ => quantified(tape, names, inner),
    }
}

fn call(tape: &mut Tape, names: &Names, depth: u32) -> Expr {
    let (name, least, most) = *tape.pick(&FUNCTIONS);
    let count = least as u64 + tape.below((most - least) as u64 + 1);
    let mut arguments = Vec::new();
    for at in 0..count {
        arguments.push(match (name, at) {
            // Small numbers, lest texts grow without end.
            ("repeat" | "lpad" | "rpad", 1) => Expr::Literal(Value::from(tape.below(6))),
            ("substr", 1 | 2) => Expr::Literal(Value::from(tape.below(4))),
            ("object_set", 3) | ("object_unset", 2) => Expr::Literal(Value::Bool(tape.chance(1, 2))),
            ("lpad" | "rpad", 2) => Expr::Literal((*tape.pick(&["x", "ab", "é"])).into()),
            ("object_set" | "object_unset", 1) => Expr::Literal((*tape.pick(&["x", "y", "w"])).into()),
            _ => fitting(tape, names, name, depth),
        });
    }
    Expr::Call(name, arguments)
}

/// An argument that often has the type that the function wants.
fn fitting(tape: &mut Tape, names: &Names, function: &str, depth: u32) -> Expr {
    if tape.chance(1, 4) {
        return value(tape, names, depth);
    }
    let field = match function {
        "abs" | "ceil" | "floor" => "n",
        "array_contains" | "array_contains_null" | "array_length" => "l",
        f if f.starts_with("object") => "o",
        "concat" | "contains" | "starts_with" | "ends_with" | "byte_length" | "char_length" | "lower"
        | "upper" | "substr" | "pos" | "split" | "repeat" | "lpad" | "rpad" | "joinstr" => "b",
        _ => "a",
    };
    Expr::Path(tape.pick(&names.sources).clone(), vec![field.to_owned()])
}
