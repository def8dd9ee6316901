//! Printing and parsing are inverse.
#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_types::{SmolStr, Value};
use proptest::prelude::*;

use super::statement_text;
use crate::ast::*;
use crate::decl::FieldKind;
use crate::lexer::Span;
use crate::parser::parse;
use crate::plan::ConflictPolicy;

#[test]
fn one_spelling() {
    for (text, want) in [
        (
            "select a, b.c x from default:orders o where o.status='open' and not n>1.0 order by a desc limit 2",
            "SELECT `a`, `b`.`c` AS `x` FROM `default`:`orders` AS `o` WHERE ((`o`.`status` = \"open\") AND \
             (NOT (`n` > 1.0))) ORDER BY `a` DESC LIMIT 2",
        ),
        (
            "SELECT /*+ {\"#x\":1} */ DISTINCT c.*, MISSING a.b FROM COLLECTION c (m MAP(n COUNTER), r REGISTER) \
             USE INDEX '' --+ {}\nLEFT OUTER JOIN d USE IDS LIST :l USE INDEX (i, j) ON c.a = d.a",
            "/*+ {\"#x\":1} */ SELECT DISTINCT `c`.*, MISSING `a`.`b` FROM COLLECTION `c` (`m` MAP(`n` COUNTER), \
             `r` REGISTER) USE INDEX \"\" /*+ {} */ LEFT JOIN `d` USE IDS LIST :l USE INDEX (`i`, `j`) ON \
             (`c`.`a` = `d`.`a`)",
        ),
        (
            "explain advise and provision update c apply n increment by -1, m restart set f -> (a = 1, b -> default()), \
             g -> tombstone(), h = 2 unset i, j where a in ('x', \"it's\") returning count(*)",
            "EXPLAIN ADVISE AND PROVISION UPDATE `c` APPLY `n` INCREMENT BY -1, `m` RESTART SET `f`.`a` = 1, \
             `f`.`b` -> default(), `g` -> tombstone(), `h` = 2 UNSET `i`, `j` WHERE (`a` IN (\"x\", \"it's\")) \
             RETURNING count(*)",
        ),
        (
            "insert into c documents {'a': :p}, ([]) on id conflict do merge returning *",
            "INSERT INTO `c` DOCUMENTS ({\"a\": :p}), ([]) ON ID CONFLICT DO UPDATE RETURNING *",
        ),
        ("INSERT INTO c SELECT a FROM d", "INSERT INTO `c` SELECT `a` FROM `d`"),
        ("TOMBSTONE FROM c WHERE a", "DELETE FROM `c` WHERE `a`"),
        ("EVICT FROM c LIMIT 1 ORDER BY a", "EVICT FROM `c` ORDER BY `a` ASC LIMIT 1"),
        (
            "create index if not exists i on c (a.b desc, c exclude missing)",
            "CREATE INDEX IF NOT EXISTS `i` ON `c` (`a`.`b` DESC, `c` ASC EXCLUDE MISSING)",
        ),
        ("drop index if exists i on c", "DROP INDEX IF EXISTS `i` ON `c`"),
        ("alter system set X to default", "ALTER SYSTEM SET `X` = DEFAULT"),
        ("alter system set x = {'a': [1]}", "ALTER SYSTEM SET `x` = {\"a\": [1]}"),
        ("alter system reset all", "ALTER SYSTEM RESET ALL"),
        ("show all ilike 'a%'", "SHOW ALL ILIKE \"a%\""),
        ("show x;", "SHOW `x`"),
        (
            "SELECT -(5), - -5, a - -5, x IN a || b || c, trim(both 'x' from a), cast(a as string), \
             position('a' in b) FROM c",
            "SELECT -(5), 5, (`a` - -5), (`x` IN `a` || `b` || `c`), `trim`(`a`, \"x\"), \
             CAST(`a`, \"string\"), pos(`b`, \"a\") FROM `c`",
        ),
        (
            "SELECT CASE a WHEN 1 THEN 2 ELSE 3 END, a BETWEEN 1 AND 2, a NOT LIKE 'x' ESCAPE '!', \
             a IS NOT MISSING, {'k': 1e3} FROM c",
            "SELECT CASE `a` WHEN 1 THEN 2 ELSE 3 END, (`a` BETWEEN 1 AND 2), \
             (`a` NOT LIKE \"x\" ESCAPE \"!\"), (`a` IS NOT MISSING), {\"k\": 1000.0} FROM `c`",
        ),
    ] {
        let parsed = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let printed = statement_text(&parsed);
        assert_eq!(printed, want, "{text}");
        assert_eq!(parse(&printed).unwrap_or_else(|e| panic!("{printed}: {e}")), parsed, "{text}");
    }
}

#[test]
fn the_deepest_expressions_have_a_normal_form() {
    for (before, after) in
        [("- ", ""), ("NOT ", ""), ("1 = (", ")"), ("(", ") + 1"), ("f(", ")"), ("[", "]"), ("a IN -", "")]
    {
        let deepest = (1..=crate::MAX_EXPRESSION_DEPTH)
            .rev()
            .map(|n| format!("SELECT {}a{} FROM c", before.repeat(n), after.repeat(n)))
            .find(|text| parse(text).is_ok())
            .unwrap();
        let parsed = parse(&deepest).unwrap();
        let printed = statement_text(&parsed);
        assert_eq!(parse(&printed).unwrap_or_else(|e| panic!("{before}: {e}")), parsed);
    }
}

fn name(text: SmolStr) -> Name {
    Name { text, span: Span::default() }
}

fn names() -> BoxedStrategy<Name> {
    prop_oneof!["[a-z]{1,3}", "[A-Z]{2,5}", "[ -~é\n]{1,4}", Just("from".to_owned())]
        .prop_map(|text| name(text.into()))
        .boxed()
}

fn paths() -> BoxedStrategy<Vec<Name>> {
    prop::collection::vec(names(), 1..4).boxed()
}

fn node(kind: ExprKind, children: &[&Expr]) -> Expr {
    let height = children.iter().map(|e| e.height).max().unwrap_or(0) + 1;
    Expr { kind, span: Span::default(), height }
}

fn leaf() -> BoxedStrategy<Expr> {
    let literal = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::Float),
        "[ -~é\n\t😀]{0,5}".prop_map(Value::from),
    ];
    prop_oneof![
        literal.prop_map(ExprKind::Literal),
        Just(ExprKind::Missing),
        "[a-z_][a-zA-Z0-9]{0,3}".prop_map(|p| ExprKind::Param(p.into())),
        paths().prop_map(ExprKind::Path),
    ]
    .prop_map(|kind| node(kind, &[]))
    .boxed()
}

fn chain(op: ChainOp, first: Expr, rest: Vec<Expr>) -> Expr {
    let mut items = match first {
        // The parser makes one chain of a chain that goes on.
        Expr { kind: ExprKind::Chain(o, items), .. } if o == op => items,
        e => vec![e],
    };
    items.extend(rest);
    let height = items.iter().map(|e| e.height).max().unwrap_or(0) + 1;
    Expr { kind: ExprKind::Chain(op, items), span: Span::default(), height }
}

fn expr() -> BoxedStrategy<Expr> {
    leaf()
        .prop_recursive(5, 40, 4, |inner| {
            let e = inner.clone();
            let b = inner.clone().prop_map(Box::new);
            let many = |min: usize| prop::collection::vec(inner.clone(), min..4);
            let chain_op =
                prop::sample::select(vec![ChainOp::And, ChainOp::Or, ChainOp::Xor, ChainOp::Concat]);
            let compare_op = prop::sample::select(vec![
                CompareOp::Eq,
                CompareOp::Ne,
                CompareOp::Lt,
                CompareOp::Le,
                CompareOp::Gt,
                CompareOp::Ge,
            ]);
            let arith_op = prop::sample::select(vec![
                ArithOp::Add,
                ArithOp::Sub,
                ArithOp::Mul,
                ArithOp::Div,
                ArithOp::Rem,
                ArithOp::Shl,
                ArithOp::Shr,
            ]);
            let pattern_kind =
                prop::sample::select(vec![PatternKind::Like, PatternKind::ILike, PatternKind::SimilarTo]);
            let quantifier =
                prop::sample::select(vec![Quantifier::Any, Quantifier::Every, Quantifier::AnyAndEvery]);
            let binder = (prop::option::of(names()), names(), any::<bool>(), e.clone())
                .prop_map(|(key, value, within, source)| Binder { key, value, within, source });
            let test = prop::sample::select(vec![IsTest::Null, IsTest::Missing, IsTest::True, IsTest::False]);
            prop_oneof![
                many(0).prop_map(|v| {
                    let height = v.iter().map(|e| e.height).max().unwrap_or(0) + 1;
                    Expr { kind: ExprKind::Array(v), span: Span::default(), height }
                }),
                prop::collection::vec((e.clone(), e.clone()), 0..3).prop_map(|fields| {
                    let height = fields.iter().map(|(k, v)| k.height.max(v.height)).max().unwrap_or(0) + 1;
                    Expr { kind: ExprKind::Object(fields), span: Span::default(), height }
                }),
                (chain_op, e.clone(), many(1)).prop_map(|(op, first, rest)| chain(op, first, rest)),
                (compare_op, b.clone(), b.clone()).prop_map(|(op, a, b)| {
                    let height = a.height.max(b.height) + 1;
                    Expr { kind: ExprKind::Compare(op, a, b), span: Span::default(), height }
                }),
                (arith_op, b.clone(), b.clone()).prop_map(|(op, a, b)| {
                    let height = a.height.max(b.height) + 1;
                    Expr { kind: ExprKind::Arith(op, a, b), span: Span::default(), height }
                }),
                (prop::sample::select(vec![0, 1, 2]), b.clone()).prop_map(|(which, e)| {
                    let height = e.height + 1;
                    let kind = match which {
                        0 => ExprKind::Not(e),
                        1 => ExprKind::Negate(e),
                        _ => ExprKind::Plus(e),
                    };
                    Expr { kind, span: Span::default(), height }
                }),
                (b.clone(), b.clone(), b.clone(), any::<bool>()).prop_map(|(value, low, high, negated)| {
                    let height = value.height.max(low.height).max(high.height) + 1;
                    let kind = ExprKind::Between { value, low, high, negated };
                    Expr { kind, span: Span::default(), height }
                }),
                (b.clone(), many(1), any::<bool>()).prop_map(|(value, list, negated)| {
                    let height = list.iter().map(|e| e.height).fold(value.height, u16::max) + 1;
                    Expr { kind: ExprKind::InList { value, list, negated }, span: Span::default(), height }
                }),
                (b.clone(), leaf().prop_map(Box::new), any::<bool>()).prop_map(|(value, array, negated)| {
                    let height = value.height.max(array.height) + 1;
                    Expr { kind: ExprKind::InValue { value, array, negated }, span: Span::default(), height }
                }),
                (e.clone(), e.clone(), prop::option::of(e.clone()), pattern_kind, any::<bool>()).prop_map(
                    |(value, pattern, escape, kind, negated)| {
                        let height = value.height.max(pattern.height);
                        let height = height.max(escape.as_ref().map_or(0, |e| e.height)) + 1;
                        let like = LikeExpr { value, pattern, escape, kind, negated };
                        Expr { kind: ExprKind::Like(Box::new(like)), span: Span::default(), height }
                    }
                ),
                (b.clone(), test, any::<bool>()).prop_map(|(value, test, negated)| {
                    let height = value.height + 1;
                    Expr { kind: ExprKind::Is { value, test, negated }, span: Span::default(), height }
                }),
                (
                    prop::option::of(e.clone()),
                    prop::collection::vec((e.clone(), e.clone()), 1..3),
                    prop::option::of(e.clone())
                )
                    .prop_map(|(operand, branches, otherwise)| {
                        let all = branches.iter().flat_map(|(a, b)| [a, b]).chain(&operand).chain(&otherwise);
                        let height = all.map(|e| e.height).max().unwrap_or(0) + 1;
                        let case = CaseExpr { operand, branches, otherwise };
                        Expr { kind: ExprKind::Case(Box::new(case)), span: Span::default(), height }
                    }),
                (names(), any::<bool>(), many(0)).prop_map(|(name, distinct, list)| {
                    let height = list.iter().map(|e| e.height).max().unwrap_or(0) + 1;
                    let distinct = distinct && !list.is_empty();
                    let kind = ExprKind::Call { name, distinct, args: CallArgs::List(list) };
                    Expr { kind, span: Span::default(), height }
                }),
                names().prop_map(|name| node(
                    ExprKind::Call { name, distinct: false, args: CallArgs::Star },
                    &[]
                )),
                (quantifier, binder.clone(), e.clone()).prop_map(|(quantifier, binder, condition)| {
                    let height = binder.source.height.max(condition.height) + 1;
                    let kind =
                        ExprKind::Quantified(Box::new(QuantifiedExpr { quantifier, binder, condition }));
                    Expr { kind, span: Span::default(), height }
                }),
                (prop::option::of(e.clone()), e.clone(), binder, prop::option::of(e.clone())).prop_map(
                    |(key, value, binder, filter)| {
                        let parts = [Some(&value), Some(&binder.source), key.as_ref(), filter.as_ref()];
                        let height = parts.into_iter().flatten().map(|e| e.height).max().unwrap_or(0) + 1;
                        let kind =
                            ExprKind::Transform(Box::new(TransformExpr { key, value, binder, filter }));
                        Expr { kind, span: Span::default(), height }
                    }
                ),
                (b, names()).prop_map(|(value, type_name)| {
                    let height = value.height + 1;
                    Expr { kind: ExprKind::Cast { value, type_name }, span: Span::default(), height }
                }),
            ]
        })
        .boxed()
}

fn directive() -> BoxedStrategy<Directive> {
    "\\{[a-z\" :#é/*]{0,6}\\}".prop_map(|json| Directive { json: json.into(), span: Span::default() }).boxed()
}

fn types() -> BoxedStrategy<Vec<TypeDef>> {
    let kind = prop::sample::select(vec![
        FieldKind::Register,
        FieldKind::Counter,
        FieldKind::PnCounter,
        FieldKind::Attachment,
    ]);
    let leaf = (names(), kind).prop_map(|(name, kind)| TypeDef { name, kind, fields: Vec::new() });
    let def = leaf.prop_recursive(3, 8, 3, |inner| {
        (names(), prop::collection::vec(inner, 0..3)).prop_map(|(name, fields)| TypeDef {
            name,
            kind: FieldKind::Map,
            fields,
        })
    });
    prop::collection::vec(def, 0..3).boxed()
}

fn target(typed: bool) -> BoxedStrategy<Target> {
    (prop::option::of(names()), names(), types())
        .prop_map(move |(namespace, collection, types)| Target {
            namespace,
            collection,
            types: if typed { types } else { Vec::new() },
        })
        .boxed()
}

fn use_clause() -> BoxedStrategy<UseClause> {
    let span = Span::default();
    let index_names =
        prop_oneof![Just(Vec::new()), prop::collection::vec(names().prop_map(|n| n.text), 1..4),];
    prop_oneof![
        prop::collection::vec(expr(), 1..3)
            .prop_map(move |ids| UseClause::Ids { ids: UseIds::Each(ids), span }),
        expr().prop_map(move |e| UseClause::Ids { ids: UseIds::List(e), span }),
        index_names.prop_map(move |names| UseClause::Index { names, span }),
        directive().prop_map(UseClause::Directives),
    ]
    .boxed()
}

fn term(alias: bool) -> BoxedStrategy<FromTerm> {
    let uses = prop::collection::vec(use_clause(), 0..3);
    let directives = prop::collection::vec(directive(), 0..2);
    (target(true), prop::option::of(names()), uses, directives)
        .prop_map(move |(target, name, uses, directives)| FromTerm {
            target,
            alias: name.filter(|_| alias),
            uses,
            directives,
        })
        .boxed()
}

fn projection() -> BoxedStrategy<Projection> {
    let span = Span::default();
    let item = prop_oneof![
        names().prop_map(ProjectionItem::Spread),
        paths().prop_map(move |path| ProjectionItem::Remove { path, span }),
        (expr(), prop::option::of(names())).prop_map(|(expr, alias)| ProjectionItem::Value { expr, alias }),
    ];
    prop_oneof![Just(vec![ProjectionItem::Wildcard(span)]), prop::collection::vec(item, 1..4),]
        .prop_map(move |items| Projection { items, span })
        .boxed()
}

fn tail() -> BoxedStrategy<Tail> {
    let key = (expr(), any::<bool>()).prop_map(|(expr, descending)| SortKey { expr, descending });
    let span = Span::default();
    let bound = || prop::option::of(expr().prop_map(move |e| (e, span)));
    (prop::option::of(prop::collection::vec(key, 1..3)), bound(), bound())
        .prop_map(move |(keys, limit, offset)| Tail {
            order_by: keys.map(|keys| OrderBy { keys, span }),
            limit,
            offset,
        })
        .boxed()
}

fn select() -> BoxedStrategy<Select> {
    let span = Span::default();
    let kind = prop::sample::select(vec![JoinKind::Inner, JoinKind::Left, JoinKind::Right]);
    let join = (kind, term(true), expr()).prop_map(move |(kind, term, on)| Join { kind, term, on, span });
    let filter = || prop::option::of(expr());
    let keys = prop::option::of(prop::collection::vec(expr(), 1..3));
    (
        any::<bool>(),
        projection(),
        term(true),
        prop::collection::vec(join, 0..3),
        filter(),
        keys,
        filter(),
        tail(),
    )
        .prop_map(move |(distinct, projection, from, joins, filter, keys, having, tail)| Select {
            span,
            distinct: distinct.then_some(span),
            projection,
            from,
            joins,
            filter,
            group_by: keys.map(|keys| GroupBy { keys, span }),
            having,
            tail,
        })
        .boxed()
}

fn returning() -> BoxedStrategy<Option<Returning>> {
    prop::option::of(projection().prop_map(|projection| Returning { projection, span: Span::default() }))
        .boxed()
}

fn change() -> BoxedStrategy<Change> {
    let action = prop_oneof![
        expr().prop_map(Action::Set),
        Just(Action::Unset),
        Just(Action::Default),
        expr().prop_map(Action::Increment),
        prop::option::of(expr()).prop_map(Action::Restart),
        expr().prop_map(Action::PnIncrement),
    ];
    (paths(), action).prop_map(|(path, action)| Change { path, action }).boxed()
}

fn body() -> BoxedStrategy<Body> {
    let policy = prop::sample::select(vec![
        ConflictPolicy::Fail,
        ConflictPolicy::DoNothing,
        ConflictPolicy::DoUpdate,
        ConflictPolicy::DoUpdateLocalDiff,
    ]);
    let source = prop_oneof![
        prop::collection::vec(expr(), 1..3).prop_map(InsertSource::Documents),
        select().prop_map(|s| InsertSource::Select(Box::new(s))),
    ];
    let insert = (target(true), any::<bool>(), source, policy, returning()).prop_map(
        |(target, initial, source, policy, returning)| {
            let initial =
                initial && matches!(source, InsertSource::Documents(_)) && policy == ConflictPolicy::Fail;
            Body::Insert(Box::new(Insert { target, initial, source, policy, returning }))
        },
    );
    let update =
        (term(false), prop::collection::vec(change(), 1..5), prop::option::of(expr()), tail(), returning())
            .prop_map(|(from, mut changes, filter, tail, returning)| {
                changes.sort_by_key(|c| {
                    !matches!(c.action, Action::Increment(_) | Action::Restart(_) | Action::PnIncrement(_))
                });
                Body::Update(Box::new(Update { from, changes, filter, tail, returning }))
            });
    let remove = (any::<bool>(), term(false), prop::option::of(expr()), tail(), returning()).prop_map(
        |(evict, from, filter, tail, returning)| {
            Body::Remove(Box::new(Remove { evict, from, filter, tail, returning }))
        },
    );
    let key = (paths(), any::<bool>(), any::<bool>())
        .prop_map(|(path, descending, include_missing)| IndexKey { path, descending, include_missing });
    let create = (names(), any::<bool>(), target(false), prop::collection::vec(key, 1..4)).prop_map(
        |(name, if_absent, target, keys)| Body::CreateIndex(CreateIndex { name, if_absent, target, keys }),
    );
    let drop = (names(), any::<bool>(), target(false))
        .prop_map(|(name, if_present, target)| Body::DropIndex(DropIndex { name, if_present, target }));
    let alter = prop_oneof![
        (names(), prop::option::of(expr())).prop_map(|(name, e)| AlterSystem::Set(name, e)),
        names().prop_map(AlterSystem::Reset),
        Just(AlterSystem::ResetAll),
    ]
    .prop_map(Body::AlterSystem);
    let show = prop_oneof![
        names().prop_map(Show::One),
        prop::option::of(("[ -~]{0,4}", any::<bool>())).prop_map(|f| {
            Show::All(f.map(|(pattern, fold_case)| ShowFilter { pattern: pattern.into(), fold_case }))
        }),
    ]
    .prop_map(Body::Show);
    prop_oneof![
        4 => select().prop_map(|s| Body::Select(Box::new(s))),
        3 => insert,
        3 => update,
        2 => remove,
        1 => create,
        1 => drop,
        1 => alter,
        1 => show,
    ]
    .boxed()
}

fn statement() -> BoxedStrategy<Statement> {
    let advise =
        any::<[bool; 2]>().prop_map(|[provision, explain]| PrefixKind::Advise { provision, explain });
    let kind = prop_oneof![Just(PrefixKind::Explain), Just(PrefixKind::Profile), advise];
    (prop::option::of(kind), prop::collection::vec(directive(), 0..3), body())
        .prop_map(|(kind, directives, body)| {
            let reads = matches!(body, Body::Select(_) | Body::Insert(_) | Body::Update(_) | Body::Remove(_));
            let prefix = kind
                .filter(|k| reads || matches!(k, PrefixKind::Advise { .. }))
                .map(|kind| Prefix { kind, span: Span::default() });
            Statement { prefix, directives, body }
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn parsing_what_was_printed_gives_the_same_tree(s in statement()) {
        let text = statement_text(&s);
        let parsed = parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        prop_assert_eq!(&parsed, &s, "{}", text);
        prop_assert_eq!(statement_text(&parsed), text);
    }
}
