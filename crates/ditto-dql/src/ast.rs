//! The statement as written: names are not resolved, nothing is checked beyond the grammar.

use ditto_types::{SmolStr, Value};

use crate::decl::FieldKind;
use crate::lexer::Span;
use crate::plan::ConflictPolicy;

/// A name with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name {
    pub(crate) text: SmolStr,
    pub(crate) span: Span,
}

/// A statement with what stands before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    /// EXPLAIN, PROFILE or ADVISE before the statement.
    pub(crate) prefix: Option<Prefix>,
    /// Directive comments before the statement and after the word SELECT, in the order written.
    pub(crate) directives: Vec<Directive>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prefix {
    pub(crate) kind: PrefixKind,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixKind {
    Explain,
    Profile,
    Advise {
        /// AND PROVISION: the advised indexes are created.
        provision: bool,
        /// EXPLAIN ADVISE: the plan of the ADVISE.
        explain: bool,
    },
}

/// A directive comment (`/*+ … */`, `--+ …`) or the string of USE DIRECTIVES. The content is not checked yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Directive {
    pub(crate) json: SmolStr,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Select(Box<Select>),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Remove(Box<Remove>),
    CreateIndex(CreateIndex),
    DropIndex(DropIndex),
    AlterSystem(AlterSystem),
    Show(Show),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    pub(crate) span: Span,
    pub(crate) distinct: Option<Span>,
    pub(crate) projection: Projection,
    pub(crate) from: FromTerm,
    pub(crate) joins: Vec<Join>,
    pub(crate) filter: Option<Expr>,
    pub(crate) group_by: Option<GroupBy>,
    pub(crate) having: Option<Expr>,
    pub(crate) tail: Tail,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Projection {
    pub(crate) items: Vec<ProjectionItem>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ProjectionItem {
    /// `*`
    Wildcard(Span),
    /// `c.*`
    Spread(Name),
    /// `MISSING path`
    Remove {
        path: Vec<Name>,
        span: Span,
    },
    Value {
        expr: Expr,
        alias: Option<Name>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) namespace: Option<Name>,
    pub(crate) collection: Name,
    pub(crate) types: Vec<TypeDef>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TypeDef {
    pub(crate) name: Name,
    pub(crate) kind: FieldKind,
    pub(crate) fields: Vec<TypeDef>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FromTerm {
    pub(crate) target: Target,
    /// Always `None` in UPDATE, DELETE and EVICT.
    pub(crate) alias: Option<Name>,
    pub(crate) uses: Vec<UseClause>,
    /// Directive comments after the collection.
    pub(crate) directives: Vec<Directive>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum UseClause {
    Ids {
        ids: UseIds,
        span: Span,
    },
    /// No name at all forces a scan of the collection.
    Index {
        names: Vec<SmolStr>,
        span: Span,
    },
    Directives(Directive),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum UseIds {
    /// `USE IDS a, b`: each expression is one id, also when its value is an array.
    Each(Vec<Expr>),
    /// `USE IDS LIST e`: the items of an array.
    List(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Join {
    pub(crate) kind: JoinKind,
    pub(crate) term: FromTerm,
    pub(crate) on: Expr,
    /// From the first word of the join to the word JOIN.
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupBy {
    pub(crate) keys: Vec<Expr>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tail {
    pub(crate) order_by: Option<OrderBy>,
    pub(crate) limit: Option<(Expr, Span)>,
    pub(crate) offset: Option<(Expr, Span)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OrderBy {
    pub(crate) keys: Vec<SortKey>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SortKey {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Returning {
    pub(crate) projection: Projection,
    /// The word RETURNING.
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Insert {
    pub(crate) target: Target,
    pub(crate) initial: bool,
    pub(crate) source: InsertSource,
    pub(crate) policy: ConflictPolicy,
    pub(crate) returning: Option<Returning>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InsertSource {
    Documents(Vec<Expr>),
    Select(Box<Select>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Update {
    pub(crate) from: FromTerm,
    /// In the order APPLY, SET, UNSET; the notation `a -> (b = 1)` is taken apart into `a.b = 1`.
    pub(crate) changes: Vec<Change>,
    pub(crate) filter: Option<Expr>,
    pub(crate) tail: Tail,
    pub(crate) returning: Option<Returning>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) path: Vec<Name>,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Set(Expr),
    /// UNSET, or `-> tombstone()`.
    Unset,
    /// `-> default()`: the value a field of its kind has when nothing was written.
    Default,
    Increment(Expr),
    Restart(Option<Expr>),
    PnIncrement(Expr),
}

/// DELETE or EVICT.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remove {
    pub(crate) evict: bool,
    pub(crate) from: FromTerm,
    pub(crate) filter: Option<Expr>,
    pub(crate) tail: Tail,
    pub(crate) returning: Option<Returning>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CreateIndex {
    pub(crate) name: Name,
    /// IF NOT EXISTS
    pub(crate) if_absent: bool,
    /// Without types.
    pub(crate) target: Target,
    pub(crate) keys: Vec<IndexKey>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IndexKey {
    pub(crate) path: Vec<Name>,
    pub(crate) descending: bool,
    /// INCLUDE MISSING, which is the default; EXCLUDE MISSING leaves out documents without the field.
    pub(crate) include_missing: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DropIndex {
    pub(crate) name: Name,
    /// IF EXISTS
    pub(crate) if_present: bool,
    /// Without types.
    pub(crate) target: Target,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AlterSystem {
    /// `None` is DEFAULT.
    Set(Name, Option<Expr>),
    Reset(Name),
    ResetAll,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Show {
    One(Name),
    All(Option<ShowFilter>),
}

/// `LIKE 'pattern'` or `ILIKE 'pattern'` after SHOW ALL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShowFilter {
    pub(crate) pattern: SmolStr,
    pub(crate) fold_case: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
    /// Height of the tree: 1 for a leaf. Bounded by the parser, so that recursion over the tree is.
    pub(crate) height: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExprKind {
    Literal(Value),
    Missing,
    Param(SmolStr),
    Path(Vec<Name>),
    Array(Vec<Expr>),
    Object(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Plus(Box<Expr>),
    /// A chain of one logical operator or of `||`, flat so that long chains are not deep.
    Chain(ChainOp, Vec<Expr>),
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    Arith(ArithOp, Box<Expr>, Box<Expr>),
    Between {
        value: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
    },
    InList {
        value: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    InValue {
        value: Box<Expr>,
        array: Box<Expr>,
        negated: bool,
    },
    Like(Box<LikeExpr>),
    Is {
        value: Box<Expr>,
        test: IsTest,
        negated: bool,
    },
    Case(Box<CaseExpr>),
    Call {
        name: Name,
        distinct: bool,
        args: CallArgs,
    },
    Cast {
        value: Box<Expr>,
        type_name: Name,
    },
    Quantified(Box<QuantifiedExpr>),
    Transform(Box<TransformExpr>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LikeExpr {
    pub(crate) value: Expr,
    pub(crate) pattern: Expr,
    pub(crate) escape: Option<Expr>,
    pub(crate) kind: PatternKind,
    pub(crate) negated: bool,
}

/// `quantifier binder SATISFIES condition END`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuantifiedExpr {
    pub(crate) quantifier: Quantifier,
    pub(crate) binder: Binder,
    pub(crate) condition: Expr,
}

/// `ARRAY value FOR binder [WHEN filter] END`, or `OBJECT key : value FOR …`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TransformExpr {
    /// `Some` for OBJECT.
    pub(crate) key: Option<Expr>,
    pub(crate) value: Expr,
    pub(crate) binder: Binder,
    pub(crate) filter: Option<Expr>,
}

/// `[key :] value IN source`, or WITHIN.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Binder {
    /// Variable for the index or the key of an element.
    pub(crate) key: Option<Name>,
    /// Variable for an element.
    pub(crate) value: Name,
    /// WITHIN: the elements of elements too, however deep.
    pub(crate) within: bool,
    pub(crate) source: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CaseExpr {
    pub(crate) operand: Option<Expr>,
    pub(crate) branches: Vec<(Expr, Expr)>,
    pub(crate) otherwise: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CallArgs {
    Star,
    List(Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainOp {
    And,
    Or,
    Xor,
    Concat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArithOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Shl,
    Shr,
}

impl CompareOp {
    /// The operator that is true where this one is false.
    pub(crate) fn negated(self) -> Self {
        match self {
            CompareOp::Eq => CompareOp::Ne,
            CompareOp::Ne => CompareOp::Eq,
            CompareOp::Lt => CompareOp::Ge,
            CompareOp::Le => CompareOp::Gt,
            CompareOp::Gt => CompareOp::Le,
            CompareOp::Ge => CompareOp::Lt,
        }
    }

    /// The operator with its operands exchanged.
    pub(crate) fn flipped(self) -> Self {
        match self {
            CompareOp::Eq | CompareOp::Ne => self,
            CompareOp::Lt => CompareOp::Gt,
            CompareOp::Le => CompareOp::Ge,
            CompareOp::Gt => CompareOp::Lt,
            CompareOp::Ge => CompareOp::Le,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatternKind {
    Like,
    ILike,
    SimilarTo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    Every,
    AnyAndEvery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsTest {
    Null,
    Missing,
    True,
    False,
}
