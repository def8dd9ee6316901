//! Expressions as text.

use std::fmt::Write;

use ditto_types::{SmolStr, Value, json};

use super::{quoted, string_text};
use crate::ast::{
    ArithOp, Binder, CallArgs, CaseExpr, ChainOp, CompareOp, Expr, ExprKind, IsTest, LikeExpr, Name,
    PatternKind, QuantifiedExpr, Quantifier, TransformExpr,
};
use crate::parser::calls_by_bare_name;

/// An expression in its one spelling, with paths as they were written.
pub(crate) fn expr_text(e: &Expr) -> String {
    expr_text_with(e, &dotted)
}

fn dotted(path: &[Name]) -> String {
    path.iter().map(|n| quoted(&n.text)).collect::<Vec<_>>().join(".")
}

/// An expression in its one spelling; `path` gives the text of a path, so that it can be qualified. Variables of
/// quantifiers and transforms are no paths.
pub(crate) fn expr_text_with(e: &Expr, path: &dyn Fn(&[Name]) -> String) -> String {
    let mut p = ExprPrinter { out: String::new(), path, variables: Vec::new() };
    p.expr(e);
    p.out
}

struct ExprPrinter<'a> {
    out: String,
    path: &'a dyn Fn(&[Name]) -> String,
    /// In reach of what is printed.
    variables: Vec<SmolStr>,
}

impl ExprPrinter<'_> {
    fn add(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Parts that are texts or expressions, one after the other.
    fn parts(&mut self, parts: &[Part<'_>]) {
        for part in parts {
            match part {
                Part::Text(text) => self.add(text),
                Part::Expr(e) => self.expr(e),
            }
        }
    }

    fn list(&mut self, items: &[Expr], between: &str) {
        for (i, e) in items.iter().enumerate() {
            if i > 0 {
                self.add(between);
            }
            self.expr(e);
        }
    }

    fn expr(&mut self, e: &Expr) {
        use Part::{Expr as E, Text as T};
        match &e.kind {
            ExprKind::Literal(v) => self.literal(v),
            ExprKind::Missing => self.add("MISSING"),
            ExprKind::Param(name) => {
                let _ = write!(self.out, ":{name}");
            }
            ExprKind::Path(path) => {
                let is_variable = path.first().is_some_and(|n| self.variables.contains(&n.text));
                let text = if is_variable { dotted(path) } else { (self.path)(path) };
                self.add(&text);
            }
            ExprKind::Array(items) => {
                self.add("[");
                self.list(items, ", ");
                self.add("]");
            }
            ExprKind::Object(fields) => {
                self.add("{");
                for (i, (key, value)) in fields.iter().enumerate() {
                    self.parts(&[T(if i > 0 { ", " } else { "" }), E(key), T(": "), E(value)]);
                }
                self.add("}");
            }
            ExprKind::Not(e) => self.parts(&[T("(NOT "), E(e), T(")")]),
            // Parentheses keep the sign apart from a number, of which it would become a part.
            ExprKind::Negate(e) => self.parts(&[T("-("), E(e), T(")")]),
            ExprKind::Plus(e) => self.parts(&[T("+("), E(e), T(")")]),
            ExprKind::Chain(op, items) => {
                self.add("(");
                self.list(items, chain_text(*op));
                self.add(")");
            }
            ExprKind::Compare(op, a, b) => self.parts(&[T("("), E(a), T(compare_text(*op)), E(b), T(")")]),
            ExprKind::Arith(op, a, b) => self.parts(&[T("("), E(a), T(arith_text(*op)), E(b), T(")")]),
            ExprKind::Between { value, low, high, negated } => {
                let between = not(*negated, " NOT BETWEEN ", " BETWEEN ");
                self.parts(&[T("("), E(value), T(between), E(low), T(" AND "), E(high), T(")")]);
            }
            ExprKind::InList { value, list, negated } => {
                self.parts(&[T("("), E(value), T(not(*negated, " NOT IN (", " IN ("))]);
                self.list(list, ", ");
                self.add("))");
            }
            ExprKind::InValue { value, array, negated } => {
                self.parts(&[T("("), E(value), T(not(*negated, " NOT IN ", " IN "))]);
                self.unparenthesised(array);
                self.add(")");
            }
            ExprKind::Like(like) => self.like(like),
            ExprKind::Is { value, test, negated } => {
                let test = match test {
                    IsTest::Null => "NULL)",
                    IsTest::Missing => "MISSING)",
                    IsTest::True => "TRUE)",
                    IsTest::False => "FALSE)",
                };
                self.parts(&[T("("), E(value), T(not(*negated, " IS NOT ", " IS ")), T(test)]);
            }
            ExprKind::Case(case) => self.case(case),
            ExprKind::Call { name, distinct, args } => self.call(name, *distinct, args),
            ExprKind::Cast { value, type_name } => {
                self.parts(&[T("CAST("), E(value), T(", "), T(&string_text(&type_name.text)), T(")")]);
            }
            ExprKind::Quantified(q) => self.quantified(q),
            ExprKind::Transform(t) => self.transform(t),
        }
    }

    /// What follows IN when it is no list: parentheses there would make it a list. Such an operand has none at its
    /// beginning as written, so none is needed there.
    fn unparenthesised(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Arith(op, a, b) => {
                self.unparenthesised(a);
                self.add(arith_text(*op));
                self.expr(b);
            }
            ExprKind::Chain(op, items) => {
                for (i, item) in items.iter().enumerate() {
                    if i == 0 {
                        self.unparenthesised(item);
                    } else {
                        self.add(chain_text(*op));
                        self.expr(item);
                    }
                }
            }
            ExprKind::Not(e) => {
                self.add("NOT ");
                self.expr(e);
            }
            _ => self.expr(e),
        }
    }

    fn literal(&mut self, v: &Value) {
        let _ = match v {
            Value::Null => write!(self.out, "NULL"),
            Value::Bool(true) => write!(self.out, "TRUE"),
            Value::Bool(false) => write!(self.out, "FALSE"),
            // Always with a dot or an exponent, so that it is a float again.
            Value::Float(f) => write!(self.out, "{f:?}"),
            other => write!(self.out, "{}", json::to_string(other)),
        };
    }

    fn like(&mut self, like: &LikeExpr) {
        use Part::{Expr as E, Text as T};
        let LikeExpr { value, pattern, escape, kind, negated } = like;
        let operator = match kind {
            PatternKind::Like => not(*negated, " NOT LIKE ", " LIKE "),
            PatternKind::ILike => not(*negated, " NOT ILIKE ", " ILIKE "),
            PatternKind::SimilarTo => not(*negated, " NOT SIMILAR TO ", " SIMILAR TO "),
        };
        self.parts(&[T("("), E(value), T(operator), E(pattern)]);
        if let Some(escape) = escape {
            self.parts(&[T(" ESCAPE "), E(escape)]);
        }
        self.add(")");
    }

    fn case(&mut self, case: &CaseExpr) {
        use Part::{Expr as E, Text as T};
        self.add("CASE");
        if let Some(operand) = &case.operand {
            self.parts(&[T(" "), E(operand)]);
        }
        for (when, then) in &case.branches {
            self.parts(&[T(" WHEN "), E(when), T(" THEN "), E(then)]);
        }
        if let Some(otherwise) = &case.otherwise {
            self.parts(&[T(" ELSE "), E(otherwise)]);
        }
        self.add(" END");
    }

    fn quantified(&mut self, q: &QuantifiedExpr) {
        self.add(match q.quantifier {
            Quantifier::Any => "ANY ",
            Quantifier::Every => "EVERY ",
            Quantifier::AnyAndEvery => "ANY AND EVERY ",
        });
        self.binder(&q.binder);
        self.within(&q.binder, |p| p.parts(&[Part::Text(" SATISFIES "), Part::Expr(&q.condition)]));
        self.add(" END");
    }

    fn transform(&mut self, t: &TransformExpr) {
        use Part::{Expr as E, Text as T};
        // Without parentheses a sign would make an arithmetic operation of it.
        match &t.key {
            Some(key) => self.within(&t.binder, |p| {
                p.parts(&[T("OBJECT ("), E(key), T(") : "), E(&t.value)]);
            }),
            None => self.within(&t.binder, |p| p.parts(&[T("ARRAY ("), E(&t.value), T(")")])),
        }
        self.add(" FOR ");
        self.binder(&t.binder);
        if let Some(filter) = &t.filter {
            self.within(&t.binder, |p| p.parts(&[T(" WHEN "), E(filter)]));
        }
        self.add(" END");
    }

    fn binder(&mut self, b: &Binder) {
        if let Some(key) = &b.key {
            let key = quoted(&key.text);
            self.parts(&[Part::Text(&key), Part::Text(" : ")]);
        }
        let value = quoted(&b.value.text);
        let operator = if b.within { " WITHIN " } else { " IN " };
        self.parts(&[Part::Text(&value), Part::Text(operator), Part::Expr(&b.source)]);
    }

    /// Prints what stands in the reach of the variables of a binder.
    fn within(&mut self, b: &Binder, print: impl FnOnce(&mut Self)) {
        let outside = self.variables.len();
        self.variables.extend(b.key.iter().chain([&b.value]).map(|n| n.text.clone()));
        print(self);
        self.variables.truncate(outside);
    }

    fn call(&mut self, name: &Name, distinct: bool, args: &CallArgs) {
        if calls_by_bare_name(&name.text) {
            self.add(&name.text);
        } else {
            let name = quoted(&name.text);
            self.add(&name);
        }
        self.add(if distinct { "(DISTINCT " } else { "(" });
        match args {
            CallArgs::Star => self.add("*"),
            CallArgs::List(list) => self.list(list, ", "),
        }
        self.add(")");
    }
}

enum Part<'a> {
    Text(&'a str),
    Expr(&'a Expr),
}

fn not(negated: bool, with: &'static str, without: &'static str) -> &'static str {
    if negated { with } else { without }
}

fn chain_text(op: ChainOp) -> &'static str {
    match op {
        ChainOp::And => " AND ",
        ChainOp::Or => " OR ",
        ChainOp::Xor => " XOR ",
        ChainOp::Concat => " || ",
    }
}

fn compare_text(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => " = ",
        CompareOp::Ne => " != ",
        CompareOp::Lt => " < ",
        CompareOp::Le => " <= ",
        CompareOp::Gt => " > ",
        CompareOp::Ge => " >= ",
    }
}

fn arith_text(op: ArithOp) -> &'static str {
    match op {
        ArithOp::Add => " + ",
        ArithOp::Sub => " - ",
        ArithOp::Mul => " * ",
        ArithOp::Div => " / ",
        ArithOp::Rem => " % ",
        ArithOp::Shl => " << ",
        ArithOp::Shr => " >> ",
    }
}
