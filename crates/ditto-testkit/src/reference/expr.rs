//! Expressions and their values.

use ditto_types::{Object, Value};

use crate::reference::aggregate::Aggregate;
use crate::reference::operators::{self, and, equal, is_in, is_true, like, negate, not};
use crate::reference::{aggregate, functions};

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A scalar written in the statement.
    Literal(Value),
    /// A value handed over as an argument.
    Argument(Value),
    /// A field: names below the document of a source, or of the only source.
    Path(Option<String>, Vec<String>),
    /// The whole document of a source.
    Document(String),
    /// A name bound by a quantifier or transform, and names below it.
    Variable(String, Vec<String>),
    /// An operator with two operands.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// NOT.
    Not(Box<Expr>),
    /// Unary minus.
    Negate(Box<Expr>),
    /// `x IS [NOT] …`.
    Is(Box<Expr>, Test, bool),
    /// `x [NOT] BETWEEN low AND high`.
    Between(Box<Expr>, Box<Expr>, Box<Expr>, bool),
    /// `x [NOT] IN (a, b)`.
    InList(Box<Expr>, Vec<Expr>, bool),
    /// `x [NOT] IN array`.
    InArray(Box<Expr>, Box<Expr>, bool),
    /// `s [NOT] LIKE p`, or ILIKE when the first flag is set.
    Like(Box<Expr>, Box<Expr>, bool, bool),
    /// CASE with or without an operand.
    Case(Box<Case>),
    /// A function of [`functions::FUNCTIONS`].
    Call(&'static str, Vec<Expr>),
    /// `CAST(x AS type)`.
    Cast(Box<Expr>, &'static str),
    /// An array literal.
    Array(Vec<Expr>),
    /// An object literal.
    Object(Vec<(String, Expr)>),
    /// ANY, EVERY, ANY AND EVERY … SATISFIES.
    Quantified(Quantifier, Box<Source>, Box<Expr>),
    /// `ARRAY e FOR v IN s [WHEN c] END`.
    ArrayFor(Box<Expr>, Box<Source>, Option<Box<Expr>>),
    /// `OBJECT k : e FOR n:v IN s [WHEN c] END`.
    ObjectFor(Box<Expr>, Box<Expr>, Box<Source>, Option<Box<Expr>>),
    /// An aggregate.
    Aggregate(Box<Aggregate>),
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Concat,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
    Xor,
}

/// What IS asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Test {
    Null,
    Missing,
}

/// `CASE [operand] WHEN … THEN … [ELSE …] END`.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Compared with each WHEN.
    pub operand: Option<Expr>,
    /// WHEN and THEN.
    pub branches: Vec<(Expr, Expr)>,
    /// ELSE.
    pub otherwise: Option<Expr>,
}

/// Kinds of quantified conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Quantifier {
    Any,
    Every,
    AnyAndEvery,
}

/// What a quantifier or transform walks over.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Name of the index or key.
    pub key: Option<String>,
    /// Name of the element.
    pub name: String,
    /// Nested values as well.
    pub within: bool,
    /// The array or object.
    pub of: Expr,
}

/// Alias and document of every source; `None` for the absent side of an outer join.
pub(crate) type Row = Vec<(String, Option<Value>)>;

/// One row while expressions look at it.
#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    /// Alias and document of every source; `None` for the absent side of an outer join.
    pub(crate) row: &'a [(String, Option<Value>)],
    /// The rows of the group, where aggregates may stand.
    pub(crate) group: Option<&'a [Row]>,
    /// What quantifiers have bound; the last one of a name counts.
    pub(crate) variables: Vec<(String, Value)>,
}

impl<'a> Scope<'a> {
    pub(crate) fn of_row(row: &'a [(String, Option<Value>)]) -> Self {
        Self { row, group: None, variables: Vec::new() }
    }

    fn with(&self, source: &Source, key: &Value, element: &Value) -> Self {
        let mut inner = self.clone();
        if let Some(name) = &source.key {
            inner.variables.push((name.clone(), key.clone()));
        }
        inner.variables.push((source.name.clone(), element.clone()));
        inner
    }
}

fn below(value: &Value, names: &[String]) -> Option<Value> {
    let mut value = value;
    for name in names {
        value = value.get(name)?;
    }
    Some(value.clone())
}

impl Expr {
    /// The value on a row; `None` is MISSING.
    pub(crate) fn value(&self, scope: &Scope<'_>) -> Option<Value> {
        match self {
            Expr::Literal(v) | Expr::Argument(v) => Some(v.clone()),
            Expr::Path(source, names) => {
                let (_, document) = match source {
                    Some(source) => scope.row.iter().find(|(alias, _)| alias == source)?,
                    None => scope.row.first()?,
                };
                below(document.as_ref()?, names)
            }
            Expr::Document(source) => scope.row.iter().find(|(alias, _)| alias == source)?.1.clone(),
            Expr::Variable(name, names) => {
                let (_, value) = scope.variables.iter().rev().find(|(n, _)| n == name)?;
                below(value, names)
            }
            Expr::Binary(op, a, b) => operators::binary(*op, a.value(scope), b.value(scope)),
            Expr::Not(e) => not(e.value(scope)),
            Expr::Negate(e) => negate(e.value(scope)),
            Expr::Is(e, test, negated) => {
                let found = e.value(scope);
                let holds = match test {
                    Test::Null => found == Some(Value::Null),
                    Test::Missing => found.is_none(),
                };
                Some(Value::Bool(holds != *negated))
            }
            Expr::Between(e, low, high, negated) => {
                let (e, low, high) = (e.value(scope), low.value(scope), high.value(scope));
                let above = operators::binary(Binary::GreaterEqual, e.clone(), low);
                let under = operators::binary(Binary::LessEqual, e, high);
                negated_if(*negated, and(&[above, under]))
            }
            Expr::InList(e, list, negated) => {
                let list: Vec<_> = list.iter().map(|e| e.value(scope)).collect();
                negated_if(*negated, is_in(e.value(scope), &list))
            }
            Expr::InArray(e, array, negated) => {
                negated_if(*negated, in_array(e.value(scope), array.value(scope)))
            }
            Expr::Like(s, p, fold, negated) => {
                negated_if(*negated, like(s.value(scope), p.value(scope), *fold))
            }
            Expr::Case(case) => case.value(scope),
            Expr::Call(name, arguments) => {
                functions::call(name, arguments.iter().map(|e| e.value(scope)).collect())
            }
            Expr::Cast(e, to) => functions::cast(e.value(scope)?, to),
            Expr::Array(items) => {
                Some(Value::Array(items.iter().map(|e| e.value(scope).unwrap_or(Value::Null)).collect()))
            }
            Expr::Object(fields) => {
                let fields = fields.iter().filter_map(|(k, e)| Some((k.as_str().into(), e.value(scope)?)));
                Some(Value::Object(fields.collect()))
            }
            Expr::Quantified(kind, source, condition) => {
                let elements = match source.elements(scope) {
                    Ok(elements) => elements,
                    Err(other) => return other,
                };
                let holds =
                    |(k, v): &(Value, Value)| is_true(condition.value(&scope.with(source, k, v)).as_ref());
                Some(Value::Bool(match kind {
                    Quantifier::Any => elements.iter().any(holds),
                    Quantifier::Every => elements.iter().all(holds),
                    Quantifier::AnyAndEvery => !elements.is_empty() && elements.iter().all(holds),
                }))
            }
            Expr::ArrayFor(e, source, when) => {
                let elements = match source.elements(scope) {
                    Ok(elements) => elements,
                    Err(other) => return other,
                };
                let mut items = Vec::new();
                for (key, element) in &elements {
                    let inner = scope.with(source, key, element);
                    if when.as_ref().is_none_or(|c| is_true(c.value(&inner).as_ref())) {
                        items.extend(e.value(&inner));
                    }
                }
                Some(Value::Array(items))
            }
            Expr::ObjectFor(k, e, source, when) => {
                let elements = match source.elements(scope) {
                    Ok(elements) => elements,
                    Err(other) => return other,
                };
                let mut fields = Object::new();
                for (key, element) in &elements {
                    let inner = scope.with(source, key, element);
                    if when.as_ref().is_none_or(|c| is_true(c.value(&inner).as_ref()))
                        && let (Some(Value::Str(name)), Some(value)) = (k.value(&inner), e.value(&inner))
                    {
                        fields.insert(name, value);
                    }
                }
                Some(Value::Object(fields))
            }
            Expr::Aggregate(a) => aggregate::value(a, scope.group?),
        }
    }

    /// The expressions directly below this one.
    pub(crate) fn parts(&self) -> Vec<&Expr> {
        match self {
            Expr::Literal(_)
            | Expr::Argument(_)
            | Expr::Path(..)
            | Expr::Document(_)
            | Expr::Variable(..)
            | Expr::Aggregate(_) => Vec::new(),
            Expr::Not(e) | Expr::Negate(e) | Expr::Is(e, ..) | Expr::Cast(e, _) => vec![e],
            Expr::Binary(_, a, b) | Expr::InArray(a, b, _) | Expr::Like(a, b, ..) => vec![a, b],
            Expr::Between(a, b, c, _) => vec![a, b, c],
            Expr::InList(e, list, _) => std::iter::once(&**e).chain(list).collect(),
            Expr::Case(case) => {
                let branches = case.branches.iter().flat_map(|(w, t)| [w, t]);
                case.operand.iter().chain(branches).chain(&case.otherwise).collect()
            }
            Expr::Call(_, arguments) | Expr::Array(arguments) => arguments.iter().collect(),
            Expr::Object(fields) => fields.iter().map(|(_, e)| e).collect(),
            Expr::Quantified(_, source, e) => vec![&source.of, e],
            Expr::ArrayFor(e, source, when) => {
                std::iter::once(&**e).chain([&source.of]).chain(when.as_deref()).collect()
            }
            Expr::ObjectFor(k, e, source, when) => {
                [&**k, &**e, &source.of].into_iter().chain(when.as_deref()).collect()
            }
        }
    }

    /// Whether an aggregate stands somewhere in it.
    pub(crate) fn has_aggregate(&self) -> bool {
        matches!(self, Expr::Aggregate(_)) || self.parts().iter().any(|e| e.has_aggregate())
    }

    /// Whether it depends on group keys and aggregates only.
    pub(crate) fn is_of_group(&self, keys: &[Expr]) -> bool {
        if keys.contains(self) {
            return true;
        }
        match self {
            // What is below a key depends on it.
            Expr::Path(source, names) => keys.iter().any(|key| match key {
                Expr::Path(of, prefix) => of == source && names.starts_with(prefix),
                Expr::Document(of) => source.as_ref() == Some(of),
                _ => false,
            }),
            Expr::Document(_) => false,
            e => e.parts().iter().all(|e| e.is_of_group(keys)),
        }
    }
}

fn negated_if(negated: bool, v: Option<Value>) -> Option<Value> {
    if negated { not(v) } else { v }
}

fn in_array(x: Option<Value>, array: Option<Value>) -> Option<Value> {
    match array {
        Some(Value::Array(items)) => is_in(x, &items.into_iter().map(Some).collect::<Vec<_>>()),
        Some(Value::Null) => x.map(|_| Value::Null),
        _ => None,
    }
}

impl Case {
    fn value(&self, scope: &Scope<'_>) -> Option<Value> {
        let operand = self.operand.as_ref().map(|e| e.value(scope));
        for (when, then) in &self.branches {
            let found = when.value(scope);
            let holds = match &operand {
                None => is_true(found.as_ref()),
                Some(Some(o)) => found.is_some_and(|w| *o != Value::Null && w != Value::Null && equal(o, &w)),
                Some(None) => false,
            };
            if holds {
                return then.value(scope);
            }
        }
        self.otherwise.as_ref().map_or(Some(Value::Null), |e| e.value(scope))
    }
}

impl Source {
    /// Keys and elements; else the value of the whole expression: missing is MISSING, no container is NULL.
    fn elements(&self, scope: &Scope<'_>) -> Result<Vec<(Value, Value)>, Option<Value>> {
        let value = self.of.value(scope).ok_or(None)?;
        if !matches!(value, Value::Array(_) | Value::Object(_)) {
            return Err(Some(Value::Null));
        }
        let mut found = Vec::new();
        collect(&value, self.within, &mut found);
        Ok(found)
    }
}

fn collect(value: &Value, within: bool, found: &mut Vec<(Value, Value)>) {
    let children: Vec<(Value, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (Value::from(i as u64), v)).collect(),
        Value::Object(fields) => fields.iter().map(|(k, v)| (Value::Str(k.clone()), v)).collect(),
        _ => return,
    };
    for (key, child) in children {
        found.push((key, child.clone()));
        if within {
            collect(child, true, found);
        }
    }
}
