//! Peers that do not follow the rules.

use super::sources::LAN;
use super::world::*;
use crate::blob::chunks::Held;
use crate::blob::limits::{FIND_BURST, MAX_REQUESTS, MAX_SEEN, MAX_WATCHED};
use crate::blob::wire::{Find, Found, Message};
use crate::blob::*;
use crate::peer::PeerId;

/// A peer with a line to somebody whom the test plays.
fn victim(kind: LineKind) -> (World, LineId) {
    let mut w = World::new(1, 1);
    let line = LineId(1_000_000);
    w.input(0, BlobInput::LineUp { line, peer: PeerId([200; 34]), kind });
    (w, line)
}

fn say(w: &mut World, line: LineId, message: &Message) -> Vec<BlobAction<String>> {
    w.nodes[0].exchange.handle(BlobInput::Message { line, bytes: message.encode() }, w.now);
    std::iter::from_fn(|| w.nodes[0].exchange.poll()).collect()
}

fn is_violation(actions: &[BlobAction<String>]) -> bool {
    actions.iter().any(|a| matches!(a, BlobAction::Violation { .. }))
}

#[test]
fn what_cannot_be_read_ends_the_line() {
    let (mut w, line) = victim(LineKind::Direct);
    for bytes in [vec![], vec![0], vec![99; 50], vec![1; 2 * limits::MAX_BLOB_MESSAGE]] {
        w.nodes[0].exchange.handle(BlobInput::LineUp { line, peer: peer(9), kind: LineKind::Direct }, w.now);
        w.nodes[0].exchange.handle(BlobInput::Message { line, bytes }, w.now);
        let actions: Vec<_> = std::iter::from_fn(|| w.nodes[0].exchange.poll()).collect();
        assert!(is_violation(&actions), "{actions:?}");
        // Nothing of the line counts any more.
        let (name, _) = blob(1, CHUNK);
        assert!(say(&mut w, line, &Message::Ask(name)).is_empty());
    }
}

#[test]
fn requests_and_wishes_are_counted() {
    let (mut w, line) = victim(LineKind::Direct);
    let name = w.add(1, 1_000 * CHUNK, &[0]);
    let mut sent = 0;
    let at = (0..1_000).find(|i| {
        let actions = say(&mut w, line, &Message::Get(name, *i));
        sent += actions.iter().filter(|a| matches!(a, BlobAction::Send { .. })).count();
        is_violation(&actions)
    });
    // One or two were read and wait on the line, which does not drain; the others wait as numbers.
    assert!(sent <= 2 && at == Some((MAX_REQUESTS + sent) as u64), "{sent}, {at:?}");
    let (mut w, line) = victim(LineKind::Incoming);
    let at = (0..1_000u64).find(|i| {
        let name = BlobName { len: *i, ..blob(1, 1).0 };
        is_violation(&say(&mut w, line, &Message::Ask(name)))
    });
    assert_eq!(at, Some(MAX_WATCHED as u64));
}

#[test]
fn what_nobody_asked_for_changes_nothing() {
    let (mut w, line) = victim(LineKind::Direct);
    let (name, bytes) = blob(1, CHUNK);
    let chunk = BlobChunk { proof: vec![], bytes };
    let found =
        |origin| Message::Found(Found { question: 1, origin, holder: PeerId([9; 34]), whole: true, hops: 1 });
    for message in [
        Message::Have(name, Held::Whole),
        Message::Data(name, 0, chunk),
        Message::Cancel(name, 0),
        Message::Drop(name),
        found(peer(0)),
        found(PeerId([8; 34])),
    ] {
        assert!(say(&mut w, line, &message).is_empty(), "{message:?}");
    }
    assert_eq!(w.nodes[0].exchange.next_deadline(), None);
}

#[test]
fn a_flood_of_questions_is_bounded() {
    let mut w = World::new(2, 1);
    w.link(0, 1, LAN.0, LAN.1);
    let line = LineId(1_000_000);
    w.input(0, BlobInput::LineUp { line, peer: PeerId([200; 34]), kind: LineKind::Direct });
    let (name, _) = blob(1, CHUNK);
    let find = |question| Message::Find(Find { question, origin: PeerId([200; 34]), name, hops: 8 });
    let passed: usize = (0..10_000).map(|q| say(&mut w, line, &find(q)).len()).sum();
    assert_eq!(passed, FIND_BURST as usize);
    // Slowly, over a long time, what is remembered is bounded too.
    for q in 10_000..100_000 {
        w.now += 3;
        say(&mut w, line, &find(q));
        assert!(w.nodes[0].exchange.seen.len() <= MAX_SEEN);
    }
    assert!(w.nodes[0].exchange.seen.len() <= 700);
    w.run(w.now + 60_000);
    assert_eq!((w.nodes[0].exchange.seen.len(), w.nodes[0].exchange.seen_order.len()), (0, 0));
}

#[test]
fn questions_belong_between_neighbours() {
    for kind in [LineKind::Incoming, LineKind::Outgoing] {
        let (name, _) = blob(1, CHUNK);
        let origin = PeerId([7; 34]);
        for message in [
            Message::Find(Find { question: 1, origin, name, hops: 3 }),
            Message::Found(Found { question: 1, origin, holder: origin, whole: true, hops: 1 }),
        ] {
            let (mut w, line) = victim(kind);
            assert!(is_violation(&say(&mut w, line, &message)));
        }
    }
}

#[test]
fn invented_holders_cost_little_and_the_real_one_is_found() {
    // 1 answers every question with invented holders; 2 leads to the real one.
    let mut w = World::new(4, 2);
    let name = w.add(1, 3 * CHUNK, &[3]);
    w.link(0, 2, LAN.0, LAN.1);
    w.link(2, 3, LAN.0, LAN.1);
    let line = LineId(1_000_000);
    w.input(0, BlobInput::LineUp { line, peer: peer(1), kind: LineKind::Direct });
    w.fetch(0, 1, name);
    let question = |w: &World| w.nodes[0].exchange.questions.keys().next().copied();
    w.run_while(60_000, |w| question(w).is_none());
    let mut tried = 0;
    for n in 0..100u8 {
        let Some(question) = question(&w) else { break };
        // Keys of peers that are not there: circuits to them fail.
        let holder = PeerId([10 + n; 34]);
        let found = Found { question, origin: peer(0), holder, whole: true, hops: 1 };
        let actions = say(&mut w, line, &Message::Found(found));
        for action in actions {
            match action {
                BlobAction::OpenCircuit { peer } => {
                    tried += 1;
                    w.nodes[0].exchange.handle(BlobInput::CircuitFailed { peer }, w.now);
                }
                BlobAction::Send { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(tried <= 100);
    w.run(w.now + 600_000);
    assert_eq!(w.end(0, 1), Some(&FetchEnd::Completed), "tried {tried}");
}

#[test]
fn a_source_that_promises_and_sends_nothing_is_worked_around() {
    let mut w = World::new(3, 3);
    let name = w.add(1, 10 * CHUNK, &[2]);
    w.link(0, 1, LAN.0, LAN.1);
    w.link(1, 2, LAN.0, LAN.1);
    let line = LineId(1_000_000);
    w.input(0, BlobInput::LineUp { line, peer: PeerId([200; 34]), kind: LineKind::Direct });
    w.fetch(0, 1, name);
    w.run(w.now + 10);
    say(&mut w, line, &Message::Have(name, Held::Whole));
    w.run(w.now + 120_000);
    // No neighbour that sends has it, but two hops away there is one.
    assert_eq!(w.end(0, 1), Some(&FetchEnd::Completed));
}
