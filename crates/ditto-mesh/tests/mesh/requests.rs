//! Connection requests: the app decides about accepted links (API-191 to API-202).

use ditto_mesh::transport::{LinkId, LinkKind};
use ditto_mesh::{Action, Input, PeerKey, Refusal};
use ditto_types::{Object, Value};

use crate::harness::*;

type Request = (LinkId, PeerKey, LinkKind, Value);

fn requests(w: &World, node: usize) -> Vec<Request> {
    let of = |a: &Action| match a {
        Action::ConnectionRequest { link, peer, kind, metadata } => {
            Some((*link, *peer, *kind, metadata.clone()))
        }
        _ => None,
    };
    w.nodes[node].log.iter().filter_map(of).collect()
}

fn answer(w: &mut World, node: usize, allow: bool) {
    let (link, ..) = requests(w, node).pop().unwrap();
    w.input(node, Input::AnswerConnectionRequest { link, allow });
}

/// Two machines of which the first dials the second, whose app is asked.
fn asking() -> World {
    let mut w = World::new();
    w.add("a", |c| c.static_targets = vec![target("b")]);
    w.add("b", |_| {});
    let metadata = Value::Object(Object::from([("role".into(), "kitchen".into())]));
    w.input(0, Input::SetPeerMetadata(metadata));
    w.input(1, Input::SetConnectionRequests(Some(10_000)));
    w
}

#[test]
fn an_allowed_peer_gets_in_and_a_waiting_one_does_not() {
    let mut w = asking();
    w.start_all();
    w.run(5_000);
    let asked = requests(&w, 1);
    let [(_, peer, kind, metadata)] = &asked[..] else { panic!("{} requests", asked.len()) };
    assert_eq!((*peer, *kind), (w.nodes[0].key, LinkKind::Memory));
    assert_eq!(metadata.get("role").and_then(Value::as_str), Some("kitchen"));
    assert!(w.nodes.iter().all(|n| n.connects() == 0), "nobody is in before the answer");
    answer(&mut w, 1, true);
    w.run_until(500, both_connected);
    // A second answer is about nothing.
    answer(&mut w, 1, false);
    w.run(60_000);
    assert!(both_connected(&w));
    assert_eq!(requests(&w, 1).len(), 1);
}

#[test]
fn a_denied_peer_is_told_and_may_ask_again() {
    let mut w = asking();
    w.start_all();
    w.run(100);
    answer(&mut w, 1, false);
    w.run(100);
    assert_eq!(w.nodes[1].refusals(), [(true, Refusal::Denied)]);
    assert_eq!(w.nodes[0].refusals(), [(false, Refusal::Denied)]);
    w.run(10_000);
    assert_eq!(requests(&w, 1).len(), 2, "its next try is a request of its own");
    answer(&mut w, 1, true);
    w.run_until(500, both_connected);
}

#[test]
fn no_answer_in_time_is_no() {
    let mut w = asking();
    w.start_all();
    w.run(9_900);
    assert!(w.nodes[1].refusals().is_empty());
    w.run(300);
    assert_eq!(w.nodes[1].refusals()[..1], [(true, Refusal::NotAnswered)]);
    assert_eq!(w.nodes[0].refusals()[..1], [(false, Refusal::NotAnswered)]);
    assert!(w.nodes.iter().all(|n| n.connects() == 0));
}

#[test]
fn who_is_refused_anyway_is_no_request() {
    for wrong in 0..3 {
        let mut w = World::new();
        w.add("a", |c| {
            c.static_targets = vec![target("b")];
            c.admission = shared(&[1; 32]);
            match wrong {
                0 => c.admission = shared(&[2; 32]),
                1 => c.admission = ditto_mesh::Admission::Open,
                _ => c.database = "11111111-2222-3333-4444-555555555555".parse().unwrap(),
            }
        });
        w.add("b", |c| c.admission = shared(&[1; 32]));
        w.input(1, Input::SetConnectionRequests(Some(10_000)));
        w.start_all();
        w.run(20_000);
        assert!(!w.nodes[1].refusals().is_empty());
        assert!(requests(&w, 1).is_empty(), "case {wrong}");
    }
}

#[test]
fn a_decision_holds_for_a_session_and_a_kind_of_link() {
    let mut w = asking();
    w.kind = LinkKind::Bluetooth;
    w.start_all();
    w.run(100);
    answer(&mut w, 1, true);
    w.run_until(500, both_connected);
    w.run(30_000);
    // The dialer alone notices a loss and comes back into the same session.
    w.lose_link_at(0, 1);
    w.run(20_000);
    assert!(both_connected(&w));
    assert_eq!(requests(&w, 1).len(), 1);
    // The session ends: the next one is another request.
    w.break_links(0, 1);
    w.run(3_000);
    assert_eq!(requests(&w, 1).len(), 2);
    answer(&mut w, 1, true);
    w.run_until(500, both_connected);
    // Another kind of link, too.
    w.kind = LinkKind::AccessPoint;
    w.discover(0, "another way", &["b/lan"]);
    w.run(5_000);
    assert_eq!(requests(&w, 1).len(), 3);
    assert_eq!(requests(&w, 1)[2].2, LinkKind::AccessPoint);
    answer(&mut w, 1, false);
    w.run(1_000);
    assert!(both_connected(&w), "a denial ends no other link");
}

#[test]
fn without_a_handler_everybody_gets_in() {
    let mut w = asking();
    w.start_all();
    w.input(1, Input::SetConnectionRequests(None));
    w.run_until(1_000, both_connected);
    assert!(requests(&w, 1).is_empty());
}
