//! Resolution of names, parameters, functions and aggregates in expressions.

use ditto_types::{SmolStr, Value};

use super::Lower;
use crate::aggregate::{Aggregate, AggregateFn};
use crate::ast::{self, ArithOp, CallArgs, ChainOp, CompareOp, Expr, ExprKind, IsTest, Name};
use crate::error::DqlError;
use crate::eval::single_char;
use crate::functions::{self, CastType, Function};
use crate::scalar::{At, Case, Like, Scalar};

/// Most different aggregates of a statement.
const MAX_AGGREGATES: usize = 256;

/// What may occur in an expression, by where it stands.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// The clause, for messages.
    clause: &'static str,
    /// Why fields cannot occur; `None` where they can.
    no_fields: Option<&'static str>,
    aggregates: bool,
    aliases: bool,
    inside_aggregate: bool,
}

impl Scope {
    /// Fields of the document, no aggregates.
    pub(super) const fn fields(clause: &'static str) -> Self {
        Self { clause, no_fields: None, aggregates: false, aliases: false, inside_aggregate: false }
    }

    /// The same with the names given in the projection.
    pub(super) const fn and_aliases(self) -> Self {
        Self { aliases: true, ..self }
    }

    /// Fields and aggregates.
    pub(super) const fn aggregates(clause: &'static str) -> Self {
        Self { aggregates: true, ..Self::fields(clause) }
    }

    /// Neither.
    pub(super) const fn constant(clause: &'static str, no_fields: &'static str) -> Self {
        Self { no_fields: Some(no_fields), ..Self::fields(clause) }
    }
}

impl Lower<'_> {
    /// Resolves an expression. The arms are functions of their own to keep this frame small: it recurses.
    pub(super) fn expr(&mut self, e: Expr, scope: Scope) -> Result<Scalar, DqlError> {
        let at = At(e.span.start as usize);
        match e.kind {
            ExprKind::Literal(v) => Ok(Scalar::Const(v)),
            ExprKind::Missing => Ok(Scalar::Missing),
            ExprKind::Param(name) => Ok(Scalar::Param(self.param(name))),
            ExprKind::Path(path) => self.path(&path, scope),
            ExprKind::Array(items) => self.array(items, at, scope),
            ExprKind::Object(fields) => self.object(fields, at, scope),
            ExprKind::Not(e) => self.unary(Scalar::Not, *e, scope),
            ExprKind::Negate(e) => self.unary(Scalar::Negate, *e, scope),
            ExprKind::Plus(e) => self.unary(Scalar::Plus, *e, scope),
            ExprKind::Chain(op, items) => self.chain(op, items, at, scope),
            ExprKind::Compare(op, a, b) => self.compare(op, *a, *b, scope),
            ExprKind::Arith(op, a, b) => self.arith(op, *a, *b, scope),
            ExprKind::Between { value, low, high, negated } => {
                self.between([*value, *low, *high], negated, scope)
            }
            ExprKind::InList { value, list, negated } => self.in_list(*value, list, negated, scope),
            ExprKind::InValue { value, array, negated } => self.in_value(*value, *array, negated, scope),
            ExprKind::Like(like) => self.like(*like, scope),
            ExprKind::Is { value, test, negated } => self.is_test(*value, test, negated, scope),
            ExprKind::Case(case) => self.case(*case, scope),
            ExprKind::Call { name, distinct, args } => self.call(name, distinct, args, scope),
            ExprKind::Cast { value, type_name } => self.cast(*value, type_name, at, scope),
        }
    }

    fn array(&mut self, items: Vec<Expr>, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        Ok(Scalar::Array(self.list(items, scope)?, at))
    }

    fn object(&mut self, fields: Vec<(Expr, Expr)>, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        let mut out = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            let key = self.expr(key, scope)?;
            out.push((key, self.expr(value, scope)?));
        }
        Ok(Scalar::Object(out.into(), at))
    }

    fn unary(&mut self, wrap: fn(Box<Scalar>) -> Scalar, e: Expr, scope: Scope) -> Result<Scalar, DqlError> {
        Ok(wrap(self.boxed(e, scope)?))
    }

    fn chain(&mut self, op: ChainOp, items: Vec<Expr>, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        let items = self.list(items, scope)?;
        Ok(match op {
            ChainOp::And => Scalar::And(items),
            ChainOp::Or => Scalar::Or(items),
            ChainOp::Xor => Scalar::Xor(items),
            ChainOp::Concat => Scalar::Concat(items, at),
        })
    }

    fn compare(&mut self, op: CompareOp, a: Expr, b: Expr, scope: Scope) -> Result<Scalar, DqlError> {
        Ok(Scalar::Compare(op, self.pair(a, b, scope)?))
    }

    fn arith(&mut self, op: ArithOp, a: Expr, b: Expr, scope: Scope) -> Result<Scalar, DqlError> {
        Ok(Scalar::Arith(op, self.pair(a, b, scope)?))
    }

    fn between(&mut self, parts: [Expr; 3], negated: bool, scope: Scope) -> Result<Scalar, DqlError> {
        let [value, low, high] = parts;
        let parts = [self.expr(value, scope)?, self.expr(low, scope)?, self.expr(high, scope)?];
        Ok(negate(Scalar::Between(Box::new(parts)), negated))
    }

    fn in_list(
        &mut self,
        value: Expr,
        list: Vec<Expr>,
        negated: bool,
        scope: Scope,
    ) -> Result<Scalar, DqlError> {
        let value = self.boxed(value, scope)?;
        Ok(negate(Scalar::InList(value, self.list(list, scope)?), negated))
    }

    fn in_value(
        &mut self,
        value: Expr,
        array: Expr,
        negated: bool,
        scope: Scope,
    ) -> Result<Scalar, DqlError> {
        Ok(negate(Scalar::InValue(self.pair(value, array, scope)?), negated))
    }

    fn like(&mut self, like: ast::LikeExpr, scope: Scope) -> Result<Scalar, DqlError> {
        let ast::LikeExpr { value, pattern, escape, fold_case, negated } = like;
        let (value, pattern) = (self.expr(value, scope)?, self.expr(pattern, scope)?);
        let escape = match escape {
            Some(e) => {
                let span = e.span;
                let e = self.expr(e, scope)?;
                if matches!(&e, Scalar::Const(v) if single_char(v).is_none()) {
                    return self.fail("ESCAPE needs a string of one character", span);
                }
                Some(e)
            }
            None => None,
        };
        Ok(negate(Scalar::Like(Box::new(Like { value, pattern, escape, fold_case })), negated))
    }

    fn is_test(
        &mut self,
        value: Expr,
        test: IsTest,
        negated: bool,
        scope: Scope,
    ) -> Result<Scalar, DqlError> {
        Ok(negate(Scalar::Is(test, self.boxed(value, scope)?), negated))
    }

    fn case(&mut self, case: ast::CaseExpr, scope: Scope) -> Result<Scalar, DqlError> {
        let operand = case.operand.map(|e| self.expr(e, scope)).transpose()?;
        let mut branches = Vec::with_capacity(case.branches.len());
        for (when, then) in case.branches {
            let when = self.expr(when, scope)?;
            branches.push((when, self.expr(then, scope)?));
        }
        let otherwise = case.otherwise.map(|e| self.expr(e, scope)).transpose()?;
        Ok(Scalar::Case(Box::new(Case { operand, branches, otherwise })))
    }

    fn cast(&mut self, value: Expr, type_name: Name, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        let Some(to) = CastType::from_name(&type_name.text) else {
            let message = format!(
                "unknown type {:?}; CAST knows string, integer, float, boolean and binary",
                type_name.text
            );
            return self.fail(message, type_name.span);
        };
        Ok(Scalar::Cast(self.boxed(value, scope)?, to, at))
    }

    fn boxed(&mut self, e: Expr, scope: Scope) -> Result<Box<Scalar>, DqlError> {
        self.expr(e, scope).map(Box::new)
    }

    fn pair(&mut self, a: Expr, b: Expr, scope: Scope) -> Result<Box<[Scalar; 2]>, DqlError> {
        Ok(Box::new([self.expr(a, scope)?, self.expr(b, scope)?]))
    }

    fn list(&mut self, items: Vec<Expr>, scope: Scope) -> Result<Box<[Scalar]>, DqlError> {
        items.into_iter().map(|e| self.expr(e, scope)).collect()
    }

    fn param(&mut self, name: SmolStr) -> usize {
        let next = self.params.len();
        *self.params.entry(name).or_insert(next)
    }

    fn path(&mut self, path: &[Name], scope: Scope) -> Result<Scalar, DqlError> {
        let Some((first, rest)) = path.split_first() else { return Ok(Scalar::Missing) };
        if let Some(message) = scope.no_fields {
            return self.fail(message, first.span);
        }
        let term = self.term(&first.text);
        if scope.aliases && (rest.is_empty() || term.is_none()) {
            let alias = self.aliases.iter().find(|(name, _)| *name == first.text);
            if let Some((_, scalar)) = alias {
                let scalar = scalar.clone();
                return Ok(if rest.is_empty() { scalar } else { Scalar::Get(Box::new(scalar), names(rest)) });
            }
        }
        match (term, rest) {
            (Some(term), []) => Ok(Scalar::Document(term)),
            (Some(term), rest) => Ok(Scalar::Field(term, names(rest))),
            (None, rest) if self.terms.len() > 1 => self.unqualified(first, rest),
            (None, _) => Ok(Scalar::Field(0, names(path))),
        }
    }

    /// The number of the term of FROM that a name qualifies.
    pub(super) fn term(&self, name: &str) -> Option<usize> {
        self.terms.iter().position(|t| t == name)
    }

    /// A name over several terms without its term. Documents have no schema, so only `_id` says what it means: the
    /// ids of all terms, by their names.
    fn unqualified(&self, first: &Name, rest: &[Name]) -> Result<Scalar, DqlError> {
        if first.text != "_id" {
            return self.fail(format!("Ambiguous reference to field: {}", first.text), first.span);
        }
        let id = |(term, name): (usize, &SmolStr)| {
            (Scalar::Const(Value::Str(name.clone())), Scalar::Field(term, [first.text.clone()].into()))
        };
        let fields = self.terms.iter().enumerate().map(id).collect();
        let ids = Scalar::Object(fields, At(first.span.start as usize));
        Ok(if rest.is_empty() { ids } else { Scalar::Get(Box::new(ids), names(rest)) })
    }

    /// The field that a path of names means where only a field can be meant.
    pub(super) fn field(&self, path: &[Name]) -> Vec<SmolStr> {
        match path {
            [first, rest @ ..] if self.term(&first.text).is_some() && !rest.is_empty() => {
                names(rest).into_vec()
            }
            path => names(path).into_vec(),
        }
    }

    fn call(&mut self, name: Name, distinct: bool, args: CallArgs, scope: Scope) -> Result<Scalar, DqlError> {
        if let Some(aggregate) = AggregateFn::from_name(&name.text) {
            return self.aggregate(aggregate, &name, distinct, args, scope);
        }
        if AggregateFn::is_known_elsewhere(&name.text) || functions::is_known_elsewhere(&name.text) {
            return self.unsupported(&format!("function {}", name.text), name.span);
        }
        let Some(function) = functions::find(&name.text) else {
            return self.fail(format!("unknown function {}", name.text), name.span);
        };
        if distinct {
            return self.fail(format!("DISTINCT is for aggregates, not for {}", name.text), name.span);
        }
        let CallArgs::List(list) = args else {
            return self.fail(format!("* is not an argument of {}", name.text), name.span);
        };
        if !(function.min..=function.max).contains(&list.len()) {
            return self.wrong_arity(function, &name, list.len());
        }
        Ok(Scalar::Call(function, self.list(list, scope)?, At(name.span.start as usize)))
    }

    fn wrong_arity<T>(&self, function: &Function, name: &Name, found: usize) -> Result<T, DqlError> {
        let wanted = match (function.min, function.max) {
            (a, b) if a == b => format!("{a}"),
            (a, usize::MAX) => format!("at least {a}"),
            (a, b) => format!("{a} to {b}"),
        };
        let plural = if function.max == 1 || wanted == "at least 1" { "" } else { "s" };
        let message = format!("{} expects {wanted} argument{plural}, found {found}", name.text);
        self.fail(message, name.span)
    }

    fn aggregate(
        &mut self,
        function: AggregateFn,
        name: &Name,
        distinct: bool,
        args: CallArgs,
        scope: Scope,
    ) -> Result<Scalar, DqlError> {
        if scope.inside_aggregate {
            return self.fail("aggregates cannot be nested", name.span);
        }
        if !scope.aggregates {
            let message = format!("aggregate {} is not allowed in {}", name.text, scope.clause);
            return self.fail(message, name.span);
        }
        let aggregate = match (function, args) {
            (AggregateFn::Count, CallArgs::Star) => Aggregate { function, arg: None, distinct: false },
            (_, CallArgs::List(list)) if list.len() == 1 => {
                let inside = Scope { inside_aggregate: true, aliases: false, ..scope };
                let arg = self.list(list, inside)?.into_vec().pop();
                Aggregate { function, arg, distinct }
            }
            _ => return self.fail(format!("{} expects 1 argument", name.text), name.span),
        };
        let index = match self.aggregates.iter().position(|a| *a == aggregate) {
            Some(i) => i,
            None if self.aggregates.len() >= MAX_AGGREGATES => {
                return self.fail(format!("more than {MAX_AGGREGATES} aggregates"), name.span);
            }
            None => {
                self.aggregates.push(aggregate);
                self.aggregates.len() - 1
            }
        };
        Ok(Scalar::Aggregate(index))
    }
}

fn names(path: &[Name]) -> Box<[SmolStr]> {
    path.iter().map(|n| n.text.clone()).collect()
}

fn negate(s: Scalar, negated: bool) -> Scalar {
    if negated { Scalar::Not(Box::new(s)) } else { s }
}

/// Whether an expression is an integer literal, which a reader of SQL would take for the number of a column.
pub(super) fn is_ordinal(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Literal(Value::Int(_) | Value::UInt(_)))
}
