//! When whom is dialled.

use super::*;
use crate::identity::Identity;

fn t(s: &str) -> DialTarget {
    DialTarget::Memory(s.into())
}

/// A mesh of which everything can be said.
#[derive(Default)]
struct Mesh {
    sessions: BTreeMap<PeerKey, LinkKind>,
    priorities: BTreeMap<PeerKey, ConnectionPriority>,
    costs: BTreeMap<PeerKey, u32>,
    full: bool,
    churn_at: Option<u64>,
}

impl Outlook for Mesh {
    fn session(&self, peer: &PeerKey) -> Option<LinkKind> {
        self.sessions.get(peer).copied()
    }

    fn priority(&self, peer: &PeerKey) -> ConnectionPriority {
        self.priorities.get(peer).copied().unwrap_or_default()
    }

    fn same_group(&self, _: &PeerKey) -> bool {
        true
    }

    fn cost(&self, peer: &PeerKey) -> Option<u32> {
        self.costs.get(peer).copied()
    }

    fn room(&self, _: LinkKind) -> usize {
        if self.full { 0 } else { 2 }
    }

    fn churn_at(&self, _: LinkKind) -> Option<u64> {
        self.churn_at
    }
}

fn nobody() -> Mesh {
    Mesh::default()
}

fn key(i: u8) -> PeerKey {
    Identity::generate(&mut |out| out.fill(i)).peer_key()
}

fn dialer(token: &str) -> Dialer {
    Dialer::new(token.into(), Limits::default())
}

#[test]
fn the_smaller_token_dials_first() {
    let (mut a, mut b) = (dialer("a"), dialer("b"));
    a.discovered("b", vec![t("b")], 1000);
    b.discovered("a", vec![t("a")], 1000);
    a.discovered("a", vec![t("a")], 1000);
    assert_eq!(a.due(1000, 9, &nobody()).len(), 1);
    assert_eq!(b.due(2999, 9, &nobody()), []);
    assert_eq!(b.next_deadline(&nobody()), Some(3000));
    assert_eq!(b.due(3000, 9, &nobody()).len(), 1);
}

#[test]
fn backoff_doubles_up_to_its_limit_and_is_jittered() {
    for (failures, max) in [(1, 1000), (2, 2000), (5, 16_000), (9, 256_000), (10, 300_000), (99, 300_000)] {
        for random in [0, 7, u64::MAX / 3] {
            let d = backoff(failures, 1000, 300_000, random);
            assert!(d >= max / 2 && d <= max, "{failures}: {d}");
        }
    }
    let mut d = dialer("a");
    d.set_static(&[t("x")], 0);
    d.discovered("b", vec![t("b1"), t("b2")], 0);
    let (fixed, found) = (Origin::Static(t("x")), Origin::Token("b".into()));
    for _ in 0..20 {
        assert!(d.failed(&fixed, 0, 5).unwrap() <= 5000);
    }
    // Both addresses of an instance are tried before waiting.
    assert_eq!(d.failed(&found, 0, 0), Some(0));
    assert_eq!(d.due(0, 9, &nobody())[0].target, t("b2"));
    assert_eq!(d.failed(&found, 0, 0), Some(500));
}

#[test]
fn rediscovery_resets_backoff_and_mere_repetition_does_not() {
    let mut d = dialer("a");
    let o = Origin::Token("b".into());
    d.discovered("b", vec![t("b")], 0);
    for _ in 0..8 {
        d.failed(&o, 0, 0);
    }
    let late = d.next_deadline(&nobody()).unwrap();
    assert!(late > 50_000);
    d.discovered("b", vec![t("b")], 10);
    assert_eq!(d.next_deadline(&nobody()), Some(late));
    d.discovered("b", vec![t("b"), t("c")], 20);
    assert_eq!(d.next_deadline(&nobody()), Some(20));
    d.lost("b");
    assert_eq!(d.next_deadline(&nobody()), None);
}

#[test]
fn connected_peers_and_ourselves_are_left_alone() {
    let mut d = dialer("z");
    let peer = key(1);
    let connected = Mesh { sessions: [(peer, LinkKind::AccessPoint)].into(), ..Mesh::default() };
    d.set_static(&[t("x"), t("y")], 0);
    d.learned(&Origin::Static(t("x")), peer);
    d.is_self(&Origin::Static(t("y")));
    assert_eq!(d.due(0, 9, &connected), []);
    assert_eq!(d.next_deadline(&connected), None);
    d.disconnected(&peer, 60_000, 100, || 0);
    assert_eq!(d.due(600, 9, &nobody()).len(), 1);
    // Static targets that stay keep what is known; the others are dropped.
    d.started(&Origin::Static(t("x")), LinkId(5));
    assert_eq!(d.set_static(&[t("y")], 700), [LinkId(5)]);
    assert_eq!(d.due(800, 9, &nobody()), []);
}

#[test]
fn one_address_is_dialled_once() {
    let mut d = dialer("a");
    d.set_static(&[t("x")], 0);
    d.discovered("b", vec![t("x")], 0);
    let due = d.due(0, 9, &nobody());
    assert_eq!(due.len(), 1);
    d.started(&due[0].origin, LinkId(1));
    assert_eq!(d.due(0, 9, &nobody()), []);
}

#[test]
fn room_is_kept_for_the_best_and_explicit_addresses_need_none() {
    let mut d = dialer("m");
    for (i, token) in ["n", "o", "p", "q"].into_iter().enumerate() {
        d.discovered(token, vec![t(token)], 0);
        d.learned_token(token, key(i as u8 + 1));
    }
    d.set_static(&[t("fixed")], 0);
    let mut mesh = Mesh { costs: (1..=3).map(|i| (key(i), 1 + u32::from(i))).collect(), ..Mesh::default() };
    let order = |d: &Dialer, mesh: &Mesh| -> Vec<DialTarget> {
        d.due(0, 9, mesh).into_iter().map(|d| d.target).collect()
    };
    // The app's address, the one nobody reaches, and the longest way; one of the two rooms is the app's.
    assert_eq!(order(&d, &mesh), [t("fixed"), t("q")]);
    d.set_static(&[], 0);
    assert_eq!(order(&d, &mesh), [t("q"), t("p")]);
    mesh.priorities = [(key(1), ConnectionPriority::High), (key(4), ConnectionPriority::DontConnect)].into();
    assert_eq!(order(&d, &mesh), [t("n"), t("p")]);
    assert_eq!(d.due(0, 1, &mesh).len(), 1);
    d.set_static(&[t("fixed")], 0);
    mesh.full = true;
    assert_eq!(order(&d, &mesh), [t("fixed")]);
    assert_eq!(d.next_deadline(&mesh), Some(0));
    let fixed = Origin::Static(t("fixed"));
    d.learned(&fixed, key(4));
    assert_eq!(order(&d, &mesh), [], "not even an address of the app leads to a peer that it does not want");
}

#[test]
fn only_who_is_worth_it_is_dialled_in_place_of_another() {
    let mut d = dialer("m");
    d.discovered("n", vec![t("n")], 1000);
    d.learned_token("n", key(1));
    let dials = |d: &Dialer, now: u64, mesh: &Mesh| d.due(now, 9, mesh).len();
    let reached = Mesh { costs: [(key(1), 2)].into(), full: true, churn_at: Some(0), ..Mesh::default() };
    assert_eq!((dials(&d, 90_000, &reached), d.next_deadline(&reached)), (0, None));
    let island = Mesh { full: true, churn_at: Some(0), ..Mesh::default() };
    assert_eq!((dials(&d, 3999, &island), d.next_deadline(&island)), (0, Some(4000)));
    assert_eq!(dials(&d, 4000, &island), 1);
    let recent = Mesh { churn_at: Some(7000), ..island };
    assert_eq!((dials(&d, 6999, &recent), d.next_deadline(&recent)), (0, Some(7000)));
    let none_to_give = Mesh { full: true, ..Mesh::default() };
    assert_eq!((dials(&d, 9999, &none_to_give), d.next_deadline(&none_to_give)), (0, None));
    assert_eq!(d.crowded(&none_to_give).len(), 1);
    let high = Mesh { priorities: [(key(1), ConnectionPriority::High)].into(), ..reached };
    assert_eq!(dials(&d, 1000, &high), 1);
    // One at a time.
    d.discovered("o", vec![t("o")], 1000);
    let island = Mesh { full: true, churn_at: Some(0), ..Mesh::default() };
    assert_eq!(dials(&d, 9000, &island), 1);
}

#[test]
fn after_a_stop_it_is_known_whose_token_it_is() {
    let mut d = dialer("m");
    d.discovered("n", vec![t("n")], 1000);
    d.learned_token("n", key(1));
    d.reset(5000);
    // Its record comes again, and is no news.
    d.learned_token("n", key(1));
    let reached = Mesh { costs: [(key(1), 2)].into(), full: true, churn_at: Some(0), ..Mesh::default() };
    assert_eq!((d.due(90_000, 9, &reached), d.next_deadline(&reached)), (vec![], None));
}

#[test]
fn a_connected_peer_is_dialled_only_for_a_better_link() {
    let mut d = dialer("m");
    let lan = DialTarget::Tcp("192.0.2.1:4040".into());
    d.discovered("n", vec![lan.clone()], 0);
    d.learned_token("n", key(1));
    let over = |kind| Mesh { sessions: [(key(1), kind)].into(), ..Mesh::default() };
    assert_eq!(d.due(0, 9, &over(LinkKind::AccessPoint)), []);
    assert_eq!(d.due(0, 9, &over(LinkKind::Bluetooth)).len(), 1);
    // It led to nothing better after all: not again at once.
    d.superseded(&Origin::Token("n".into()), 0);
    assert_eq!(d.due(0, 9, &over(LinkKind::Bluetooth)), []);
    assert_eq!(d.next_deadline(&over(LinkKind::Bluetooth)), Some(SUPERSEDED_MS));
    // Without a session the pause is no longer about anything.
    d.disconnected(&key(1), 60_000, 100, || 0);
    assert_eq!(d.due(1100, 9, &nobody()).len(), 1);
}

#[test]
fn another_network_ends_the_waiting() {
    let mut d = dialer("m");
    let o = Origin::Token("n".into());
    d.discovered("n", vec![t("n")], 0);
    for _ in 0..9 {
        d.failed(&o, 0, 0);
    }
    assert!(d.next_deadline(&nobody()) > Some(100_000));
    d.network_changed(50);
    assert_eq!(d.next_deadline(&nobody()), Some(50));
    assert_eq!(d.failed(&o, 50, 0), Some(500));
}

#[test]
fn a_record_tells_whose_token_was_announced() {
    let mut d = dialer("m");
    assert_eq!(d.discovered("n", vec![t("n")], 0), Some(None));
    assert_eq!(d.discovered("n", vec![t("n")], 0), None, "no news");
    d.learned_token_hash(token_hash("n"), key(1));
    let connected = Mesh { sessions: [(key(1), LinkKind::Memory)].into(), ..Mesh::default() };
    assert_eq!(d.due(0, 9, &connected), []);
    assert_eq!(d.lost("n"), Some(Some(key(1))));
    assert_eq!(d.lost("n"), None);
    // Also before it was announced.
    d.learned_token_hash(token_hash("o"), key(2));
    assert_eq!(d.discovered("o", vec![t("o")], 0), Some(Some(key(2))));
}
