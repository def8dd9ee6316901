//! Statements as DQL text and arguments. Every operation stands in parentheses: precedence is tested elsewhere.

use std::fmt::Write;

use ditto_types::{Object, Value};

use crate::reference::aggregate::Aggregate;
use crate::reference::database::Statement;
use crate::reference::expr::{Binary, Expr, Quantifier, Source, Test};
use crate::reference::select::{Item, Join, JoinKind, Projection, Select, SortKey, Term};
use crate::reference::write::{Apply, Delete, Insert, InsertSource, Policy, Tail, Update};

/// A statement as an engine takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The statement.
    pub text: String,
    /// Its arguments.
    pub args: Object,
    scans: bool,
}

/// Words that have to be quoted as names here; the generator uses no others.
const QUOTED: [&str; 4] = ["from", "value", "order", "select"];

impl Statement {
    /// The statement as text and arguments.
    pub fn text(&self) -> Text {
        self.text_for(true)
    }

    /// The same; `scans` keeps the hints that allow a join to scan, which an engine with indexes does not need.
    pub fn text_for(&self, scans: bool) -> Text {
        let mut out = Text { scans, ..Text::default() };
        match self {
            Statement::Select(s) => out.select(s),
            Statement::Insert(s) => out.insert(s),
            Statement::Update(s) => out.update(s),
            Statement::Delete(s) => out.delete(s),
        }
        out
    }
}

impl Text {
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn name(&mut self, name: &str) {
        let simple = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if simple && !QUOTED.contains(&name) {
            self.add(name);
        } else {
            let quoted = format!("`{}`", name.replace('`', "``"));
            self.add(&quoted);
        }
    }

    fn path(&mut self, names: &[String]) {
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                self.add(".");
            }
            self.name(name);
        }
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.add(", ");
            }
            each(self, item);
        }
    }

    fn argument(&mut self, value: &Value) {
        let name = format!("p{}", self.args.len());
        let _ = write!(self.text, ":{name}");
        self.args.insert(name.into(), value.clone());
    }

    fn literal(&mut self, value: &Value) {
        match value {
            Value::Null => self.add("NULL"),
            Value::Bool(b) => self.add(if *b { "TRUE" } else { "false" }),
            Value::Int(i) if *i < 0 => self.add(&format!("(-{})", i.unsigned_abs())),
            Value::Int(i) => self.add(&i.to_string()),
            Value::UInt(u) => self.add(&u.to_string()),
            Value::Float(f) if f.is_finite() && f.is_sign_negative() => self.add(&format!("(-{:?})", -f)),
            Value::Float(f) if f.is_finite() => self.add(&format!("{f:?}")),
            Value::Str(s) => {
                let text = s.replace('\\', "\\\\").replace('\'', "\\'");
                self.add(&format!("'{text}'"));
            }
            // What no literal can say.
            other => self.argument(other),
        }
    }

    fn expr(&mut self, e: &Expr) {
        match e {
            Expr::Literal(v) => self.literal(v),
            Expr::Argument(v) => self.argument(v),
            Expr::Path(source, names) => {
                if let Some(source) = source {
                    self.name(source);
                    self.add(".");
                }
                self.path(names);
            }
            Expr::Document(source) => self.name(source),
            Expr::Variable(name, names) => {
                self.name(name);
                for name in names {
                    self.add(".");
                    self.name(name);
                }
            }
            Expr::Binary(op, a, b) => {
                self.add("(");
                self.expr(a);
                let op = operator(*op);
                self.add(&format!(" {op} "));
                self.expr(b);
                self.add(")");
            }
            Expr::Not(e) => self.around("(NOT ", e, ")"),
            // A sign before digits belongs to the number, which has no value below -2^63 (docs/dql.md).
            Expr::Negate(e) if matches!(**e, Expr::Literal(Value::UInt(_))) => self.around("(- (", e, "))"),
            Expr::Negate(e) => self.around("(- ", e, ")"),
            Expr::Is(e, test, negated) => {
                let test = if *test == Test::Null { "NULL" } else { "MISSING" };
                let not = if *negated { "NOT " } else { "" };
                self.around("(", e, &format!(" IS {not}{test})"));
            }
            Expr::Between(e, low, high, negated) => {
                self.around("(", e, if *negated { " NOT BETWEEN " } else { " BETWEEN " });
                self.around("", low, " AND ");
                self.around("", high, ")");
            }
            Expr::InList(e, list, negated) => {
                self.around("(", e, if *negated { " NOT IN (" } else { " IN (" });
                self.list(list, Self::expr);
                self.add("))");
            }
            Expr::InArray(e, array, negated) => {
                self.around("(", e, if *negated { " NOT IN " } else { " IN " });
                self.around("", array, ")");
            }
            Expr::Like(s, p, fold, negated) => {
                let word = if *fold { "ILIKE" } else { "LIKE" };
                let not = if *negated { "NOT " } else { "" };
                self.around("(", s, &format!(" {not}{word} "));
                self.around("", p, ")");
            }
            Expr::Case(case) => {
                self.add("CASE");
                if let Some(operand) = &case.operand {
                    self.around(" ", operand, "");
                }
                for (when, then) in &case.branches {
                    self.around(" WHEN ", when, "");
                    self.around(" THEN ", then, "");
                }
                if let Some(otherwise) = &case.otherwise {
                    self.around(" ELSE ", otherwise, "");
                }
                self.add(" END");
            }
            Expr::Call(name, arguments) => {
                self.add(name);
                self.add("(");
                self.list(arguments, Self::expr);
                self.add(")");
            }
            Expr::Cast(e, to) => self.around("CAST(", e, &format!(" AS {to})")),
            Expr::Array(items) => {
                self.add("[");
                self.list(items, Self::expr);
                self.add("]");
            }
            Expr::Object(fields) => {
                self.add("{");
                self.list(fields, |out, (name, e)| {
                    out.literal(&Value::from(name.as_str()));
                    out.around(": ", e, "");
                });
                self.add("}");
            }
            Expr::Quantified(kind, source, condition) => {
                self.add(match kind {
                    Quantifier::Any => "(ANY ",
                    Quantifier::Every => "(EVERY ",
                    Quantifier::AnyAndEvery => "(ANY AND EVERY ",
                });
                self.source(source);
                self.around(" SATISFIES ", condition, " END)");
            }
            Expr::ArrayFor(e, source, when) => {
                self.around("(ARRAY ", e, " FOR ");
                self.source(source);
                self.end_of_transform(when.as_deref());
            }
            Expr::ObjectFor(k, e, source, when) => {
                self.around("(OBJECT ", k, " : ");
                self.around("", e, " FOR ");
                self.source(source);
                self.end_of_transform(when.as_deref());
            }
            Expr::Aggregate(a) => self.aggregate(a),
        }
    }

    fn around(&mut self, before: &str, e: &Expr, after: &str) {
        self.add(before);
        self.expr(e);
        self.add(after);
    }

    fn end_of_transform(&mut self, when: Option<&Expr>) {
        if let Some(when) = when {
            self.around(" WHEN ", when, "");
        }
        self.add(" END)");
    }

    fn source(&mut self, source: &Source) {
        if let Some(key) = &source.key {
            self.name(key);
            self.add(":");
        }
        self.name(&source.name);
        self.around(if source.within { " WITHIN " } else { " IN " }, &source.of, "");
    }

    fn aggregate(&mut self, a: &Aggregate) {
        self.add(a.name);
        self.add("(");
        if a.distinct {
            self.add("DISTINCT ");
        }
        match &a.of {
            Some(e) => self.expr(e),
            None => self.add("*"),
        }
        self.add(")");
    }

    fn projection(&mut self, projection: &Projection) {
        match projection {
            Projection::All => self.add("*"),
            Projection::Items(items) => self.list(items, |out, item| match item {
                Item::Value(e, alias) => {
                    out.expr(e);
                    if let Some(alias) = alias {
                        out.add(" AS ");
                        out.name(alias);
                    }
                }
                Item::AllOf(source, without) => {
                    out.name(source);
                    out.add(".*");
                    for name in without {
                        out.add(", MISSING ");
                        out.name(source);
                        out.add(".");
                        out.name(name);
                    }
                }
            }),
        }
    }

    fn term(&mut self, term: &Term) {
        self.name(&term.collection);
        if let Some(alias) = &term.alias {
            self.add(" AS ");
            self.name(alias);
        }
        self.use_ids(term.ids.as_ref());
        if let Some(index) = &term.index
            && self.scans
        {
            self.add(" USE INDEX ");
            self.literal(&Value::from(index.as_str()));
        }
    }

    fn use_ids(&mut self, ids: Option<&Vec<Value>>) {
        if let Some(ids) = ids {
            self.add(" USE IDS LIST ");
            self.argument(&Value::Array(ids.clone()));
        }
    }

    fn join(&mut self, join: &Join) {
        self.add(match join.kind {
            JoinKind::Inner => " JOIN ",
            JoinKind::Left => " LEFT JOIN ",
            JoinKind::Right => " RIGHT OUTER JOIN ",
        });
        self.term(&join.term);
        self.around(" ON ", &join.on, "");
    }

    fn order_by(&mut self, keys: &[SortKey]) {
        if !keys.is_empty() {
            self.add(" ORDER BY ");
            self.list(keys, |out, key| {
                match &key.alias {
                    Some(alias) => out.name(alias),
                    None => out.expr(&key.by),
                }
                out.add(if key.descending { " DESC" } else { "" });
            });
        }
    }

    fn window(&mut self, limit: Option<u64>, offset: Option<u64>) {
        if let Some(limit) = limit {
            self.add(&format!(" LIMIT {limit}"));
        }
        if let Some(offset) = offset {
            self.add(" OFFSET ");
            self.argument(&Value::from(offset));
        }
    }

    fn select(&mut self, select: &Select) {
        self.add(if select.distinct { "SELECT DISTINCT " } else { "SELECT " });
        self.projection(&select.projection);
        self.add(" FROM ");
        self.term(&select.from);
        for join in &select.joins {
            self.join(join);
        }
        if let Some(filter) = &select.filter {
            self.around(" WHERE ", filter, "");
        }
        if !select.group_by.is_empty() {
            self.add(" GROUP BY ");
            self.list(&select.group_by, Self::expr);
        }
        if let Some(having) = &select.having {
            self.around(" HAVING ", having, "");
        }
        self.order_by(&select.order_by);
        self.window(select.limit, select.offset);
    }

    fn tail(&mut self, tail: &Tail) {
        if let Some(filter) = &tail.filter {
            self.around(" WHERE ", filter, "");
        }
        self.order_by(&tail.order_by);
        self.window(tail.limit, tail.offset);
    }

    fn returning(&mut self, returning: Option<&Projection>) {
        if let Some(projection) = returning {
            self.add(" RETURNING ");
            self.projection(projection);
        }
    }

    fn insert(&mut self, insert: &Insert) {
        self.add("INSERT INTO ");
        self.name(&insert.collection);
        match &insert.source {
            InsertSource::Documents(list) => {
                self.add(" DOCUMENTS ");
                self.list(list, |out, e| out.around("(", e, ")"));
            }
            InsertSource::Select(select) => {
                self.add(" ");
                self.select(select);
            }
        }
        self.add(match insert.policy {
            Policy::Fail => "",
            Policy::Nothing => " ON ID CONFLICT DO NOTHING",
            Policy::Update => " ON ID CONFLICT DO UPDATE",
            Policy::UpdateLocalDiff => " ON ID CONFLICT DO UPDATE_LOCAL_DIFF",
        });
        self.returning(insert.returning.as_ref());
    }

    fn update(&mut self, update: &Update) {
        self.add("UPDATE ");
        self.name(&update.collection);
        self.use_ids(update.tail.ids.as_ref());
        if !update.apply.is_empty() {
            self.add(" APPLY ");
            self.list(&update.apply, |out, (path, apply)| {
                out.path(path);
                match apply {
                    Apply::Increment(e) => out.around(" INCREMENT BY ", e, ""),
                    Apply::Restart(None) => out.add(" RESTART"),
                    Apply::Restart(Some(e)) => out.around(" RESTART WITH ", e, ""),
                }
            });
        }
        if !update.set.is_empty() {
            self.add(" SET ");
            self.list(&update.set, |out, (path, e)| {
                out.path(path);
                out.around(" = ", e, "");
            });
        }
        if !update.unset.is_empty() {
            self.add(" UNSET ");
            self.list(&update.unset, |out, path| out.path(path));
        }
        self.tail(&update.tail);
        self.returning(update.returning.as_ref());
    }

    fn delete(&mut self, delete: &Delete) {
        self.add(if delete.evict { "EVICT FROM " } else { "DELETE FROM " });
        self.name(&delete.collection);
        self.use_ids(delete.tail.ids.as_ref());
        self.tail(&delete.tail);
        self.returning(delete.returning.as_ref());
    }
}

fn operator(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Subtract => "-",
        Binary::Multiply => "*",
        Binary::Divide => "/",
        Binary::Remainder => "%",
        Binary::Concat => "||",
        Binary::Equal => "=",
        Binary::NotEqual => "!=",
        Binary::Less => "<",
        Binary::LessEqual => "<=",
        Binary::Greater => ">",
        Binary::GreaterEqual => ">=",
        Binary::And => "AND",
        Binary::Or => "OR",
        Binary::Xor => "XOR",
    }
}
