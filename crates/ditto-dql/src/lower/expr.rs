//! Resolution of names, parameters, functions and aggregates in expressions.

use std::ops::RangeInclusive;

use ditto_types::{SmolStr, Value};

use super::Lower;
use crate::aggregate::{Aggregate, AggregateFn};
use crate::ast::{self, ArithOp, CallArgs, ChainOp, CompareOp, Expr, ExprKind, IsTest, Name, PatternKind};
use crate::error::DqlError;
use crate::eval::single_char;
use crate::functions::{self, CastType, Function};
use crate::scalar::{At, Case, Each, Like, Memo, Quantified, Regexp, Scalar, Transform};

/// Most different aggregates of a statement.
const MAX_AGGREGATES: usize = 256;

/// An IN list with more elements than this is sorted once.
const SHORT_LIST: usize = 2;

/// The clause that the reach of variables is.
const IN_REACH: &str = "a quantifier or transform";

/// A variable of a quantifier or transform.
pub(super) struct Local {
    name: SmolStr,
    level: u16,
    /// Whether it stands for the index or key of an element.
    key: bool,
}

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
    /// Resolves the expression of a clause. Parts that are the same for all rows are evaluated once.
    pub(super) fn expr(&mut self, e: Expr, scope: Scope) -> Result<Scalar, DqlError> {
        let mut e = self.resolve(e, scope)?;
        // What has no fields is evaluated once anyway.
        if scope.no_fields.is_none() {
            self.remember(&mut e);
        }
        Ok(e)
    }

    fn remember(&mut self, e: &mut Scalar) {
        match e {
            // Names of the projection stand for expressions that have been through this.
            Scalar::Const(_) | Scalar::Missing | Scalar::Param(_) | Scalar::Once(..) => {}
            e if e.is_constant() => {
                let constant = std::mem::replace(e, Scalar::Missing);
                *e = Scalar::Once(Box::new(constant), self.memo());
            }
            Scalar::InList(item, list, memo)
                if list.len() > SHORT_LIST && list.iter().all(Scalar::is_constant) =>
            {
                *memo = Some(self.memo());
                self.remember(item);
            }
            Scalar::InValue(pair, memo) if pair[1].is_constant() => {
                *memo = Some(self.memo());
                self.remember(&mut pair[0]);
            }
            Scalar::Regexp(r) if r.pattern.is_constant() && r.option.iter().all(Scalar::is_constant) => {
                r.memo = Some(self.memo());
                self.remember(&mut r.value);
            }
            e => e.parts_mut(&mut |part| self.remember(part)),
        }
    }

    fn memo(&mut self) -> Memo {
        self.memos += 1;
        Memo(self.memos - 1)
    }

    /// Resolves an expression. The arms are functions of their own to keep this frame small: it recurses.
    fn resolve(&mut self, e: Expr, scope: Scope) -> Result<Scalar, DqlError> {
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
            ExprKind::Like(like) => self.like(*like, at, scope),
            ExprKind::Is { value, test, negated } => self.is_test(*value, test, negated, scope),
            ExprKind::Case(case) => self.case(*case, scope),
            ExprKind::Call { name, distinct, args } => self.call(name, distinct, args, scope),
            ExprKind::Cast { value, type_name } => self.cast(*value, type_name, at, scope),
            ExprKind::Quantified(q) => self.quantified(*q, at, scope),
            ExprKind::Transform(t) => self.transform(*t, at, scope),
        }
    }

    fn array(&mut self, items: Vec<Expr>, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        Ok(Scalar::Array(self.list(items, scope)?, at))
    }

    fn object(&mut self, fields: Vec<(Expr, Expr)>, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        let mut out = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            let key = self.resolve(key, scope)?;
            out.push((key, self.resolve(value, scope)?));
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
        let parts = [self.resolve(value, scope)?, self.resolve(low, scope)?, self.resolve(high, scope)?];
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
        Ok(negate(Scalar::InList(value, self.list(list, scope)?, None), negated))
    }

    fn in_value(
        &mut self,
        value: Expr,
        array: Expr,
        negated: bool,
        scope: Scope,
    ) -> Result<Scalar, DqlError> {
        Ok(negate(Scalar::InValue(self.pair(value, array, scope)?, None), negated))
    }

    fn like(&mut self, like: ast::LikeExpr, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        let ast::LikeExpr { value, pattern, escape, kind, negated } = like;
        let (value, pattern) = (self.resolve(value, scope)?, self.resolve(pattern, scope)?);
        let escape = match escape {
            Some(e) => {
                let span = e.span;
                let e = self.resolve(e, scope)?;
                if matches!(&e, Scalar::Const(v) if single_char(v).is_none()) {
                    return self.fail("ESCAPE needs a string of one character", span);
                }
                Some(e)
            }
            None => None,
        };
        let scalar = if kind == PatternKind::SimilarTo {
            Scalar::Regexp(Box::new(Regexp { value, pattern, option: escape, similar: true, memo: None, at }))
        } else {
            let fold_case = kind == PatternKind::ILike;
            Scalar::Like(Box::new(Like { value, pattern, escape, fold_case, at }))
        };
        Ok(negate(scalar, negated))
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
        let operand = case.operand.map(|e| self.resolve(e, scope)).transpose()?;
        let mut branches = Vec::with_capacity(case.branches.len());
        for (when, then) in case.branches {
            let when = self.resolve(when, scope)?;
            branches.push((when, self.resolve(then, scope)?));
        }
        let otherwise = case.otherwise.map(|e| self.resolve(e, scope)).transpose()?;
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
        self.resolve(e, scope).map(Box::new)
    }

    fn pair(&mut self, a: Expr, b: Expr, scope: Scope) -> Result<Box<[Scalar; 2]>, DqlError> {
        Ok(Box::new([self.resolve(a, scope)?, self.resolve(b, scope)?]))
    }

    fn list(&mut self, items: Vec<Expr>, scope: Scope) -> Result<Box<[Scalar]>, DqlError> {
        items.into_iter().map(|e| self.resolve(e, scope)).collect()
    }

    fn param(&mut self, name: SmolStr) -> usize {
        let next = self.params.len();
        *self.params.entry(name).or_insert(next)
    }

    fn path(&mut self, path: &[Name], scope: Scope) -> Result<Scalar, DqlError> {
        let Some((first, rest)) = path.split_first() else { return Ok(Scalar::Missing) };
        if let Some(local) = self.locals.iter().rev().find(|l| l.name == first.text) {
            let local = Scalar::Local { level: local.level, key: local.key };
            return Ok(if rest.is_empty() { local } else { Scalar::Get(Box::new(local), names(rest)) });
        }
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
        if name.text.eq_ignore_ascii_case("regexp_like") {
            return self.regexp_like(&name, distinct, args, scope);
        }
        let Some(function) = functions::find(&name.text) else {
            return self.fail(format!("unknown function {}", name.text), name.span);
        };
        let Function { min, max, .. } = *function;
        let args = self.arguments(&name, distinct, args, min..=max, scope)?;
        Ok(Scalar::Call(function, args, At(name.span.start as usize)))
    }

    /// Checks and resolves the arguments of a function that is no aggregate.
    fn arguments(
        &mut self,
        name: &Name,
        distinct: bool,
        args: CallArgs,
        arity: RangeInclusive<usize>,
        scope: Scope,
    ) -> Result<Box<[Scalar]>, DqlError> {
        if distinct {
            return self.fail(format!("DISTINCT is for aggregates, not for {}", name.text), name.span);
        }
        let CallArgs::List(list) = args else {
            return self.fail(format!("* is not an argument of {}", name.text), name.span);
        };
        if arity.contains(&list.len()) {
            return self.list(list, scope);
        }
        let wanted = match (*arity.start(), *arity.end()) {
            (a, b) if a == b => format!("{a}"),
            (a, usize::MAX) => format!("at least {a}"),
            (a, b) => format!("{a} to {b}"),
        };
        let plural = if *arity.end() == 1 || wanted == "at least 1" { "" } else { "s" };
        let message = format!("{} expects {wanted} argument{plural}, found {}", name.text, list.len());
        self.fail(message, name.span)
    }

    /// `regexp_like(s, re[, flags])`, apart from the other functions for its pattern to be compiled once.
    fn regexp_like(
        &mut self,
        name: &Name,
        distinct: bool,
        args: CallArgs,
        scope: Scope,
    ) -> Result<Scalar, DqlError> {
        let mut args = self.arguments(name, distinct, args, 2..=3, scope)?.into_vec().into_iter();
        let (Some(value), Some(pattern)) = (args.next(), args.next()) else { return Ok(Scalar::Missing) };
        let at = At(name.span.start as usize);
        let regexp = Regexp { value, pattern, option: args.next(), similar: false, memo: None, at };
        Ok(Scalar::Regexp(Box::new(regexp)))
    }

    fn quantified(&mut self, q: ast::QuantifiedExpr, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        let ast::QuantifiedExpr { quantifier, binder, condition } = q;
        let (each, condition) = self.each(binder, scope, |l, inside| l.resolve(condition, inside))?;
        Ok(Scalar::Quantified(Box::new(Quantified { quantifier, each, condition, at })))
    }

    fn transform(&mut self, t: ast::TransformExpr, at: At, scope: Scope) -> Result<Scalar, DqlError> {
        let ast::TransformExpr { key, value, binder, filter } = t;
        let (each, (key, value, filter)) = self.each(binder, scope, |l, inside| {
            let key = key.map(|e| l.resolve(e, inside)).transpose()?;
            let value = l.resolve(value, inside)?;
            Ok((key, value, filter.map(|e| l.resolve(e, inside)).transpose()?))
        })?;
        Ok(Scalar::Transform(Box::new(Transform { each, key, value, filter, at })))
    }

    /// Resolves what stands in the reach of the variables of a binder; they hide fields of the same name.
    fn each<T>(
        &mut self,
        binder: ast::Binder,
        scope: Scope,
        inside: impl FnOnce(&mut Self, Scope) -> Result<T, DqlError>,
    ) -> Result<(Each, T), DqlError> {
        let ast::Binder { key, value, within, source } = binder;
        if let Some(key) = key.as_ref().filter(|k| k.text == value.text) {
            return self.fail(format!("variable {} is given twice", key.text), value.span);
        }
        let source = self.resolve(source, scope)?;
        let outside = self.locals.len();
        let level = self.locals.last().map_or(0, |l| l.level + 1);
        self.locals.extend(key.map(|k| Local { name: k.text, level, key: true }));
        self.locals.push(Local { name: value.text, level, key: false });
        let result = inside(self, Scope { aggregates: false, clause: IN_REACH, ..scope });
        self.locals.truncate(outside);
        Ok((Each { source, within, level }, result?))
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
                let mut arg = self.list(list, inside)?.into_vec().pop();
                arg.iter_mut().for_each(|arg| self.remember(arg));
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
