//! Peers that break the protocol: the session ends, the store stays as it is, and nothing panics.

use ditto_types::{KeyHash, Object};

use super::net::{Net, decode, peer_id};
use super::rng::Rng;
use crate::wire::*;
use crate::{Action, Input, Lane, SyncConfig};

const ALL: &str = "SELECT * FROM c";

/// A peer with a document and a subscription, in a session with a peer that the test plays.
struct Victim {
    net: Net,
    sent: Vec<(Lane, Message)>,
}

impl Victim {
    fn new() -> Self {
        let mut net = Net::new(1, 1, SyncConfig::default());
        net.nodes[0].store.put("c", "x", &[("v", 1)]);
        net.settle();
        net.subscribe(0, 1, ALL);
        let mut victim = Victim { net, sent: Vec::new() };
        victim.up();
        victim
    }

    fn up(&mut self) {
        self.input(Input::PeerUp { peer: peer_id(7), store_id: [7; 16], epoch: [7; 8] });
    }

    fn input(&mut self, input: Input) -> Option<String> {
        let node = &mut self.net.nodes[0];
        node.engine.handle(input, self.net.now);
        let mut disconnect = None;
        while let Some(action) = node.engine.poll() {
            match action {
                Action::Send { lane, bytes, .. } => self.sent.push((lane, decode(&bytes))),
                Action::Disconnect { reason, .. } => {
                    assert!(disconnect.is_none(), "told twice");
                    disconnect = Some(reason);
                }
                _ => {}
            }
        }
        disconnect
    }

    fn bytes(&mut self, lane: Lane, bytes: Vec<u8>) -> Option<String> {
        self.input(Input::Message { peer: peer_id(7), lane, bytes })
    }

    fn say(&mut self, lane: Lane, message: &Message) -> Option<String> {
        self.bytes(lane, message.encode())
    }

    fn sid(&self) -> u32 {
        let subs = self.sent.iter().find_map(|(_, m)| match m {
            Message::Subs(s) => s.add.first().map(|a| a.sid),
            _ => None,
        });
        subs.unwrap()
    }
}

fn add(sid: u32, query: &str) -> SubAdd {
    SubAdd {
        sid,
        hash: crate::query_hash(query, &Object::new()),
        text: Some(SubText { query: query.into(), args: Object::new() }),
        prio: 0,
        cursor: None,
        own: Vec::new(),
        held: 0,
    }
}

fn subs(generation: u64, add: Vec<SubAdd>) -> Message {
    Message::Subs(Subs { generation, add, drop: Vec::new() })
}

#[test]
fn impossible_messages_end_the_session_with_a_reason() {
    let sid = Victim::new().sid();
    let txn = |t: Txn| Message::Txn(t);
    let item =
        || TxnItem { collection: 9, id: super::store::doc_id("x"), form: Form::Full, body: vec![1, 2, 3] };
    let own = SubAdd { hash: [9; 16], ..add(1, ALL) };
    let cases: Vec<(&str, Vec<(Lane, Message)>)> = vec![
        (
            "SYM without a reason",
            vec![(Lane::Bulk, Message::Sym(Symbols { sid, index: 0, more: 0, symbols: vec![] }))],
        ),
        ("LIST without a reason", vec![(Lane::Bulk, Message::List(List { sid, last: true, keys: vec![] }))]),
        ("HAVE on the Bulk lane", vec![(Lane::Bulk, Message::Have(Keys::default()))]),
        (
            "HINT without a reason",
            vec![(Lane::Live, Message::Hint(Keys { mark: Some(9), ..Keys::default() }))],
        ),
        ("token 99 is not known here", vec![(Lane::Live, Message::Ack { token: 99, dup: false })]),
        (
            "reference 9 is not",
            vec![(Lane::Live, txn(Txn { first: true, last: true, items: vec![item()], ..Txn::default() }))],
        ),
        ("first and last marks", vec![(Lane::Live, txn(Txn { last: true, ..Txn::default() }))]),
        (
            "first and last marks",
            vec![
                (Lane::Live, txn(Txn { first: true, ..Txn::default() })),
                (Lane::Live, txn(Txn { first: true, last: true, ..Txn::default() })),
            ],
        ),
        ("staged", vec![(Lane::Live, txn(Txn { first: true, last: true, staged: true, ..Txn::default() }))]),
        (
            "first and last marks",
            vec![(Lane::Bulk, txn(Txn { last: true, sid: Some(sid), ..Txn::default() }))],
        ),
        ("does not fit its hash", vec![(Lane::Live, subs(1, vec![own]))]),
        ("subscription 1 exists", vec![(Lane::Live, subs(1, vec![add(1, ALL), add(1, "SELECT * FROM d")]))]),
        ("SUBS without a reason", vec![(Lane::Live, subs(1, vec![])), (Lane::Live, subs(1, vec![]))]),
        ("more than 1024 subs", vec![(Lane::Live, subs(1, (1..1_026).map(|i| add(i, ALL)).collect()))]),
        (
            "SUBST without a reason",
            vec![
                (Lane::Live, Message::Subst(Subst { sid, mode: SubMode::Full, count: 0 })),
                (Lane::Live, Message::Subst(Subst { sid, mode: SubMode::Full, count: 0 })),
            ],
        ),
        (
            "RECGO without a reason",
            vec![
                (Lane::Live, subs(1, vec![add(1, ALL)])),
                (Lane::Live, Message::RecGo { sid: 1, ask: Ask::List }),
            ],
        ),
        (
            "ROOT without a reason",
            vec![(Lane::Bulk, Message::Root(Root { sid, token: 1, count: 5, sum: 0 })); 5],
        ),
        (
            "ROOT without a reason",
            vec![
                (Lane::Bulk, Message::Root(Root { sid, token: 1, count: 5, sum: 0 })),
                (Lane::Bulk, Message::List(List { sid, last: false, keys: vec![(KeyHash(5), 0)] })),
                (Lane::Bulk, Message::Root(Root { sid, token: 1, count: 5, sum: 0 })),
            ],
        ),
        (
            "not ascending",
            vec![
                (Lane::Bulk, Message::Root(Root { sid, token: 1, count: 5, sum: 0 })),
                (Lane::Bulk, Message::List(List { sid, last: false, keys: vec![(KeyHash(5), 0)] })),
                (Lane::Bulk, Message::List(List { sid, last: true, keys: vec![(KeyHash(5), 0)] })),
            ],
        ),
        ("not asked for", vec![(Lane::Live, txn(foreign()))]),
        (
            "malformed document",
            vec![(
                Lane::Live,
                txn(Txn {
                    first: true,
                    last: true,
                    keys: vec!["c".into()],
                    items: vec![TxnItem { collection: 0, body: vec![255; 40], ..item() }],
                    ..Txn::default()
                }),
            )],
        ),
    ];
    for (reason, messages) in cases {
        let mut victim = Victim::new();
        let before = victim.net.nodes[0].store.docs();
        let n = messages.len();
        for (i, (lane, message)) in messages.iter().enumerate() {
            let disconnect = victim.say(*lane, message);
            assert_eq!(disconnect.is_some(), i + 1 == n, "{reason}: {disconnect:?} at {i}");
            if let Some(text) = disconnect {
                assert!(text.contains(reason), "{text} instead of {reason}");
            }
        }
        assert_eq!(victim.net.nodes[0].store.docs(), before, "{reason}");
        // Nothing is said or done any more, until the session starts anew.
        let sent = victim.sent.len();
        assert_eq!(victim.say(Lane::Live, &Message::Ack { token: 0, dup: false }), None);
        assert_eq!(victim.sent.len(), sent);
        assert_eq!(victim.net.nodes[0].engine.next_deadline(), None);
        victim.up();
        assert!(victim.sent.len() > sent);
    }
}

/// A sound document of a collection that nobody asked for.
fn foreign() -> Txn {
    let mut writer = dict::LaneWriter::default();
    let collection = ditto_crdt::DictWriter::key_ref(&mut writer, "secret");
    let fields = Object::from([("v".into(), ditto_types::Value::Int(1))]);
    let doc = ditto_crdt::Doc::fresh(&fields, ditto_types::Stamp::ZERO);
    let body = ditto_crdt::encode(&doc, &mut writer);
    let item = TxnItem { collection, id: super::store::doc_id("x"), form: Form::Full, body };
    let mut txn = Txn { first: true, last: true, items: vec![item], ..Txn::default() };
    writer.finish(&mut txn);
    txn
}

#[test]
fn requests_are_bounded() {
    for message in [Message::Want as fn(_) -> _, Message::WantBack] {
        let mut victim = Victim::new();
        assert_eq!(victim.say(Lane::Live, &subs(1, vec![add(1, ALL)])), None);
        victim.input(Input::Queued { peer: peer_id(7), lane: Lane::Bulk, bytes: 1 << 30 });
        for round in 0..5u64 {
            let wants = (0..4_096).map(|k| Want { key: KeyHash(round * 4_096 + k), vv: None }).collect();
            let disconnect = victim.say(Lane::Live, &message(wants));
            assert_eq!(disconnect.is_some(), round == 4, "{disconnect:?}");
        }
    }
}

#[test]
fn requests_back_that_answer_nothing_are_requests() {
    let mut victim = Victim::new();
    victim.say(Lane::Live, &subs(1, vec![add(1, ALL)]));
    let key = victim.net.nodes[0].store.docs()[0].key;
    let sent = victim.sent.len();
    let wants = vec![Want { key, vv: None }, Want { key: KeyHash(5), vv: None }];
    assert_eq!(victim.say(Lane::Live, &Message::WantBack(wants)), None);
    let answers: Vec<_> = victim.sent[sent..].iter().map(|(_, m)| m.name()).collect();
    assert!(answers.contains(&"TXN") && answers.contains(&"GONE"), "{answers:?}");
}

#[test]
fn unanswered_requests_are_repeated_and_then_given_up() {
    let mut victim = Victim::new();
    let sid = victim.sid();
    victim.say(Lane::Bulk, &Message::Root(Root { sid, token: 1, count: 5, sum: 0 }));
    victim.say(Lane::Bulk, &Message::List(List { sid, last: true, keys: vec![(KeyHash(5), 0)] }));
    let wants = |v: &Victim| v.sent.iter().filter(|(_, m)| matches!(m, Message::Want(_))).count();
    assert_eq!(wants(&victim), 1);
    let mut reason = None;
    for _ in 0..20 {
        let Some(t) = victim.net.nodes[0].engine.next_deadline() else { break };
        victim.net.now = victim.net.now.max(t);
        reason = reason.or(victim.input(Input::Tick));
    }
    assert_eq!(wants(&victim), 5);
    assert_eq!(reason.as_deref(), Some("requests were not answered in time"));
}

#[test]
fn random_bytes_and_damaged_sessions_never_panic() {
    let mut rng = Rng::new(7);
    // What two honest peers say to each other, to be damaged.
    let mut recorded = Vec::new();
    let mut honest = Victim::new();
    honest.say(Lane::Live, &subs(1, vec![add(1, ALL)]));
    let mut sender = Net::new(2, 3, SyncConfig::default());
    sender.record = Some(Vec::new());
    sender.subscribe(1, 1, ALL);
    sender.up(0, 1);
    sender.nodes[0].store.put("c", "y", &[("v", 1), ("a", 2)]);
    sender.settle();
    sender.nodes[0].store.update("c", "y", "v", 2);
    sender.nodes[0].store.delete("c", "y");
    sender.settle();
    recorded.extend(honest.sent.iter().map(|(lane, m)| (*lane, m.encode())));
    recorded.extend(sender.record.take().unwrap());
    assert!(recorded.len() > 8);
    let mut ended = 0;
    for _ in 0..3_000 {
        let mut victim = Victim::new();
        for _ in 0..4 {
            let before = victim.net.nodes[0].store.docs();
            let (lane, mut bytes) = recorded[rng.below(recorded.len())].clone();
            match rng.below(4) {
                0 => {
                    let at = rng.below(bytes.len());
                    bytes[at] = rng.next() as u8;
                }
                1 => bytes.truncate(rng.below(bytes.len())),
                2 => bytes = (0..rng.below(60)).map(|_| rng.next() as u8).collect(),
                _ => {}
            }
            if victim.bytes(lane, bytes).is_some() {
                ended += 1;
                assert_eq!(victim.net.nodes[0].store.docs(), before);
            }
        }
    }
    assert!(ended > 500, "{ended}");
}

#[test]
fn a_query_that_does_not_compile_is_refused_and_the_session_stays() {
    let mut victim = Victim::new();
    assert_eq!(victim.say(Lane::Live, &subs(1, vec![add(5, "SELECT nonsense"), add(6, ALL)])), None);
    let answers: Vec<_> = victim
        .sent
        .iter()
        .filter_map(|(_, m)| match m {
            Message::Subst(s) => Some((s.sid, s.mode.clone())),
            _ => None,
        })
        .collect();
    assert!(
        matches!(&answers[0], (5, SubMode::Bad { text, .. }) if text.contains("nonsense")),
        "{answers:?}"
    );
    assert_eq!(answers[1], (6, SubMode::Full));
}

#[test]
fn a_refused_subscription_is_reported_and_the_session_stays() {
    let mut victim = Victim::new();
    let (sid, mode) = (victim.sid(), SubMode::Bad { code: 1, text: "unknown function".into() });
    assert_eq!(victim.say(Lane::Live, &Message::Subst(Subst { sid, mode, count: 0 })), None);
    let status = victim.net.nodes[0].engine.status();
    let failed = crate::SyncState::Failed { reason: "refused with code 1: unknown function".into() };
    assert_eq!(status[0].subscriptions, [(1, failed)]);
    assert_eq!(victim.say(Lane::Live, &Message::Ack { token: 0, dup: false }), None);
}

#[test]
fn what_came_twice_is_acknowledged_as_a_duplicate() {
    let mut net = Net::new(3, 1, SyncConfig::default());
    for n in 0..3 {
        net.subscribe(n, 1, ALL);
    }
    // Links outside the tree are eager where the two do not ask for the same.
    net.subscribe(2, 2, "SELECT * FROM c WHERE v = 1");
    net.up(0, 1);
    net.up(1, 2);
    net.up(0, 2);
    net.settle();
    net.record = Some(Vec::new());
    net.nodes[0].store.put("c", "y", &[("v", 1)]);
    net.settle();
    let record = net.record.take().unwrap();
    let messages: Vec<_> = record.iter().map(|(_, bytes)| decode(bytes)).collect();
    assert!(messages.iter().any(|m| matches!(m, Message::Ack { dup: true, .. })), "{messages:?}");
    assert!(messages.iter().any(|m| matches!(m, Message::Ack { dup: false, .. })));
}
