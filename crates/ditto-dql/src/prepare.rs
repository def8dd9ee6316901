//! Statements, checked once and bound to arguments many times.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_types::{ErrorKind, MAX_DEPTH, Object, SmolStr, Value, attachment};

use crate::advise::advise;
use crate::ast::{Body, PrefixKind, ProjectionItem, Select, Statement, UseClause};
use crate::bind::BindContext;
use crate::directives::Directives;
use crate::env::Bound;
use crate::error::DqlError;
use crate::explain;
use crate::lexer::Span;
use crate::lower::{Lowered, Template, lower};
use crate::parser::parse;
use crate::plan::{
    AlterSystemPlan, DeletePlan, ExplainPlan, InsertPlan, Plan, SelectPlan, TailTemplate, UpdatePlan,
};
use crate::print::statement_text;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// Reads.
    Select,
    /// Writes new documents.
    Insert,
    /// Changes fields of documents.
    Update,
    /// Removes documents everywhere.
    Delete,
    /// Removes documents from this device only.
    Evict,
    /// Adds an index.
    CreateIndex,
    /// Removes an index.
    DropIndex,
    /// Changes settings.
    AlterSystem,
    /// Reads settings.
    Show,
    /// Forgets the requests of the past.
    ClearHistory,
}

/// A statement that has been parsed and checked. It can be bound to any number of argument sets.
///
/// Cheap to clone; the parts are shared.
#[derive(Clone, Debug)]
pub struct Prepared {
    text: Arc<str>,
    prefix: Option<PrefixKind>,
    template: Template,
    /// Parameters in the order of their indexes.
    params: Arc<[SmolStr]>,
    names: Arc<BTreeSet<SmolStr>>,
    memos: usize,
}

/// Parses and checks a statement; arguments are not needed yet.
///
/// # Errors
///
/// What is wrong with the text, with its place: [`ErrorKind::QueryInvalid`], or [`ErrorKind::QueryUnsupported`] for what
/// the language has and this engine does not carry out.
pub fn prepare(text: &str) -> Result<Prepared, DqlError> {
    finish(text, parse(text)?)
}

/// The statement in one spelling: words in capitals, identifiers in backticks, operators in parentheses, no comments
/// but directives. The result means the same, and is its own normal form.
///
/// Only the grammar is checked.
///
/// # Errors
///
/// As [`prepare`] for a text that is no statement.
pub fn normalize(text: &str) -> Result<String, DqlError> {
    Ok(statement_text(&parse(text)?))
}

/// Like [`prepare`], for a subscription: only `SELECT * FROM collection [WHERE condition]`. Unless `restricted`, which is
/// the setting `dql_restrict_subscriptions`, ORDER BY and LIMIT are allowed too.
///
/// # Errors
///
/// As [`prepare`]; what subscriptions do not allow is [`ErrorKind::QueryUnsupported`].
pub fn prepare_subscription(text: &str, restricted: bool) -> Result<Prepared, DqlError> {
    let statement = parse(text)?;
    let refuse = |construct: &str, span: Span| Err(DqlError::unsupported(construct, text, span));
    let Statement { prefix: None, body: Body::Select(select), .. } = &statement else {
        return refuse("non-SELECT statement in sync subscription", first_word(text));
    };
    if let Some((construct, span)) = subscription_fault(select, restricted) {
        return refuse(construct, span);
    }
    finish(text, statement)
}

/// Like [`prepare`], for an observer: only SELECT.
///
/// # Errors
///
/// As [`prepare`]; a statement that is no SELECT is [`ErrorKind::QueryUnsupported`].
pub fn prepare_observer(text: &str) -> Result<Prepared, DqlError> {
    let statement = parse(text)?;
    match &statement {
        Statement { prefix: None, body: Body::Select(_), .. } => finish(text, statement),
        _ => Err(DqlError::unsupported("non-SELECT statement in observer", text, first_word(text))),
    }
}

/// What a subscription cannot have, and where.
fn subscription_fault(select: &Select, restricted: bool) -> Option<(&'static str, Span)> {
    let Select { distinct, projection, from, joins, group_by, having, tail, span, .. } = select;
    if let Some(span) = distinct {
        return Some(("DISTINCT", *span));
    }
    if !matches!(projection.items.as_slice(), [ProjectionItem::Wildcard(_)]) {
        return Some(("A projection other than wildcard (*)", projection.span));
    }
    if let Some(group_by) = group_by {
        return Some(("Grouping", group_by.span));
    }
    if let Some(having) = having {
        return Some(("Grouping", having.span));
    }
    if let Some(join) = joins.first() {
        return Some(("Joining", join.span));
    }
    if let Some(UseClause::Ids { span, .. }) = from.uses.iter().find(|u| matches!(u, UseClause::Ids { .. })) {
        return Some(("USE IDS", *span));
    }
    if !restricted {
        return None;
    }
    let order = tail.order_by.as_ref().map(|o| o.span);
    let bound = tail.limit.as_ref().or(tail.offset.as_ref()).map(|(_, span)| *span);
    // Whichever comes first in the text.
    let at = [order, bound].into_iter().flatten().min_by_key(|s| s.start)?;
    debug_assert!(at.start > span.start, "the clauses follow the word SELECT");
    Some(("Limit or Order by", at))
}

fn first_word(text: &str) -> Span {
    crate::lexer::tokenize(text).ok().and_then(|t| t.tokens.first().map(|t| t.span)).unwrap_or_default()
}

fn finish(text: &str, statement: Statement) -> Result<Prepared, DqlError> {
    let text: Arc<str> = text.into();
    let Lowered { prefix, template, params: indexes, memos } = lower(&text, statement)?;
    let mut params = vec![SmolStr::default(); indexes.len()];
    for (name, i) in &indexes {
        params[*i] = name.clone();
    }
    let names = Arc::new(indexes.into_keys().collect());
    let prepared = Prepared { text, prefix, template, memos, names, params: params.into() };
    // A wrong constant is a fault of the text.
    if let Some(tail) = prepared.tail().filter(|t| t.is_constant()) {
        tail.window(&Bound::bare(prepared.text()), ErrorKind::QueryInvalid)?;
    }
    Ok(prepared)
}

impl Prepared {
    fn tail(&self) -> Option<&TailTemplate> {
        match &self.template {
            Template::Insert(t) => t.rows().map(|s| &s.choice.tail),
            other => other.choice().map(|c| &c.tail),
        }
    }

    /// Whether directives, its own or else `defaults`, ask that a kept statement is not used again (`#reprepare`).
    pub fn asks_anew(&self, defaults: &Directives) -> bool {
        let head = match &self.template {
            Template::Insert(t) => t.rows().map(|s| &s.choice.head),
            other => other.choice().map(|c| &c.head),
        };
        let own = head.and_then(|h| h.hints.directives.reprepare);
        own.or(defaults.reprepare).unwrap_or(false)
    }

    /// The text it was prepared from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Name of the collection, of a join the first one; empty for a statement about settings.
    pub fn collection(&self) -> &str {
        match &self.template {
            Template::Insert(t) => &t.head.collection.name,
            Template::CreateIndex(p) => &p.collection,
            Template::DropIndex(p) => &p.collection,
            other => other.choice().map_or("", |c| &c.head.collection.name),
        }
    }

    /// What the statement does.
    pub fn kind(&self) -> StatementKind {
        match &self.template {
            Template::Select(_) => StatementKind::Select,
            Template::Insert(_) => StatementKind::Insert,
            Template::Update(_) => StatementKind::Update,
            Template::Delete(_) => StatementKind::Delete,
            Template::Evict(_) => StatementKind::Evict,
            Template::CreateIndex(_) => StatementKind::CreateIndex,
            Template::DropIndex(_) => StatementKind::DropIndex,
            Template::AlterSystem(_) => StatementKind::AlterSystem,
            Template::Show(_) => StatementKind::Show,
            Template::ClearHistory => StatementKind::ClearHistory,
        }
    }

    /// Whether the statement changes documents: INSERT, UPDATE, DELETE and EVICT.
    pub fn is_mutation(&self) -> bool {
        use StatementKind::{Delete, Evict, Insert, Update};
        let runs = matches!(self.prefix, None | Some(PrefixKind::Profile));
        runs && matches!(self.kind(), Insert | Update | Delete | Evict)
    }

    /// Names of the parameters used.
    pub fn parameters(&self) -> &BTreeSet<SmolStr> {
        &self.names
    }

    /// Supplies the arguments, of which those that the statement does not use are ignored, and chooses access paths.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::QueryArguments`] for a missing argument or a LIMIT or OFFSET that is no row count,
    /// [`ErrorKind::DepthLimitExceeded`] for an argument nested too deeply, [`ErrorKind::AttachmentTokenInvalid`] for
    /// `{"$attachment": …}` around anything but a token.
    pub fn bind(&self, args: &Object, cx: &BindContext<'_>) -> Result<Plan, DqlError> {
        self.bind_to(&self.arguments(Cow::Borrowed(args))?, cx)
    }

    /// Takes the arguments that the statement uses, for [`Prepared::bind_to`]. Those that are given away are not copied.
    ///
    /// # Errors
    ///
    /// As [`Prepared::bind`], but for LIMIT and OFFSET.
    pub fn arguments(&self, mut args: Cow<'_, Object>) -> Result<Arguments, DqlError> {
        if let Some(PrefixKind::Advise { .. }) = self.prefix {
            // The advice does not depend on values.
            return Ok(Arguments { values: Arc::default(), tokens: Arc::default() });
        }
        let mut tokens = Vec::new();
        let taken = self.params.iter().map(|name| argument(name, &mut args, &mut tokens));
        let values = taken.collect::<Result<_, _>>()?;
        let tokens = if tokens.is_empty() { Arc::default() } else { tokens.into() };
        Ok(Arguments { values, tokens })
    }

    /// As [`Prepared::bind`], with arguments that were taken before: a statement can be bound to them repeatedly.
    pub fn bind_to(&self, args: &Arguments, cx: &BindContext<'_>) -> Result<Plan, DqlError> {
        Ok(match self.prefix {
            None => self.bind_body(args, cx)?,
            Some(PrefixKind::Profile) => Plan::Profile(Box::new(self.bind_body(args, cx)?)),
            Some(PrefixKind::Explain) => {
                let plan = explain::plan(&self.bind_body(args, cx)?, None);
                Plan::Explain(ExplainPlan { row: Value::Object(Object::from([("plan".into(), plan)])) })
            }
            // The advice does not depend on values, and a join that needs an index cannot be bound before it has one.
            Some(PrefixKind::Advise { provision, explain }) => {
                let advice = Plan::Advise(advise(&self.template, &self.text, provision, cx));
                if !explain {
                    return Ok(advice);
                }
                let plan = explain::plan(&advice, None);
                Plan::Explain(ExplainPlan { row: Value::Object(Object::from([("plan".into(), plan)])) })
            }
        })
    }

    fn bind_body(&self, args: &Arguments, cx: &BindContext<'_>) -> Result<Plan, DqlError> {
        let mut bound = Bound::new(self.text.clone(), args.values.clone(), cx.env.clone(), self.memos);
        bound.tokens = args.tokens.clone();
        Ok(match &self.template {
            Template::Select(t) => Plan::Select(SelectPlan::bind(t.clone(), bound, cx)?),
            Template::Insert(t) => Plan::Insert(InsertPlan::bind(t.clone(), bound, cx)?),
            Template::Update(t) => Plan::Update(UpdatePlan::bind(t.clone(), bound, cx)?),
            Template::Delete(t) => Plan::Delete(DeletePlan::bind(t.clone(), bound, cx)?),
            Template::Evict(t) => Plan::Evict(DeletePlan::bind(t.clone(), bound, cx)?),
            Template::CreateIndex(p) => Plan::CreateIndex(p.as_ref().clone()),
            Template::DropIndex(p) => Plan::DropIndex(p.as_ref().clone()),
            Template::AlterSystem(t) => Plan::AlterSystem(AlterSystemPlan::bind(t, &bound)?),
            Template::Show(p) => Plan::Show(p.as_ref().clone()),
            Template::ClearHistory => Plan::ClearHistory,
        })
    }
}

/// The arguments that a statement uses.
#[derive(Clone, Debug)]
pub struct Arguments {
    values: Arc<[Value]>,
    /// The attachment tokens among them, each once.
    tokens: Arc<[Value]>,
}

/// Each name is asked for once.
fn argument(name: &SmolStr, args: &mut Cow<'_, Object>, tokens: &mut Vec<Value>) -> Result<Value, DqlError> {
    let value = match args {
        Cow::Borrowed(args) => args.get(name).cloned(),
        Cow::Owned(args) => args.remove(name),
    };
    let Some(mut value) = value else {
        return Err(DqlError::new(ErrorKind::QueryArguments, format!("Parameter {name} was not provided")));
    };
    // An array of documents is one level above what a document can be.
    if value.depth() > MAX_DEPTH + 1 {
        let message = format!("argument {name} is nested deeper than {MAX_DEPTH} levels");
        return Err(DqlError::new(ErrorKind::DepthLimitExceeded, message));
    }
    let unmarked = attachment::unmark(&mut value, tokens);
    unmarked
        .map_err(|e| DqlError::new(ErrorKind::AttachmentTokenInvalid, format!("argument {name}: {e}")))?;
    Ok(value)
}
