//! Who gets in, who does not, and why.

use ditto_mesh::{Action, Identity, Lane, Refusal};

use crate::harness::*;

#[test]
fn open_mode_connects_and_carries_messages() {
    let mut w = connected_pair(|_| {});
    w.send(0, 1, Lane::SyncLive, b"live".to_vec(), 1);
    w.send(1, 0, Lane::Bus, vec![7; 300_000], 2);
    w.run(500);
    assert_eq!(w.nodes[1].messages(Lane::SyncLive), [b"live"]);
    assert_eq!(w.nodes[0].messages(Lane::Bus), [&vec![7; 300_000][..]]);
    assert_eq!(w.nodes[0].transmitted(), [1]);
    assert_eq!(w.nodes[1].transmitted(), [2]);
    let info = w.nodes[1]
        .log
        .iter()
        .find_map(|a| if let Action::PeerConnected(i) = a { Some(i.clone()) } else { None });
    let info = info.unwrap();
    assert_eq!((info.device_name.as_str(), info.os.as_str(), info.store_id), ("a", "Linux", [0; 16]));
}

#[test]
fn shared_key_connects() {
    let mut w = connected_pair(|c| c.admission = shared(&[9; 32]));
    w.send(0, 1, Lane::SyncBulk, b"x".to_vec(), 1);
    w.run(100);
    assert_eq!(w.nodes[1].messages(Lane::SyncBulk), [b"x"]);
}

/// Whether we refused, and why.
type Refusals = Vec<(bool, Refusal)>;

/// Runs two machines that must not connect; the refusals of the acceptor and of the dialer.
fn refused(setup: impl Fn(&mut ditto_mesh::MeshConfig, bool)) -> (Refusals, Refusals) {
    let mut w = World::new();
    w.add("a", |c| {
        c.static_targets = vec![target("b")];
        setup(c, true);
    });
    w.add("b", |c| setup(c, false));
    w.start_all();
    w.run(400);
    assert!(w.nodes.iter().all(|n| n.connects() == 0));
    (w.nodes[1].refusals(), w.nodes[0].refusals())
}

#[test]
fn one_shared_key_has_one_form_whoever_wrote_it() {
    // As other programs write PKCS#8: without the public half that our own form has.
    let own = identity(9).to_pkcs8_der();
    // Its version, its algorithm, and the key inside up to the 32 bytes of the secret.
    let (algorithm, secret) = (&own[6..27], &own[36..68]);
    let mut short = vec![0x30, 0x41, 2, 1, 0];
    short.extend_from_slice(algorithm);
    short.extend_from_slice(&[0x04, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20]);
    short.extend_from_slice(secret);
    let read = Identity::from_pkcs8_der(&short).unwrap();
    assert_eq!(read.peer_key(), identity(9).peer_key());
    assert_eq!(*read.to_pkcs8_der(), *own, "both sides derive their proofs from the same bytes");
    // Cut, changed in kind, or followed by something else.
    let mut other_kind = short.clone();
    other_kind[20] ^= 1;
    let mut longer = short.clone();
    longer.push(0);
    for bad in [&short[..short.len() - 1], &other_kind, &longer, b"-----BEGIN PRIVATE KEY-----", &[]] {
        assert!(Identity::from_pkcs8_der(bad).is_err());
    }
}

#[test]
fn strangers_are_refused_with_a_reason_on_both_sides() {
    let other_db = "11111111-2222-3333-4444-555555555555".parse().unwrap();
    let (b, a) = refused(|c, first| {
        if first {
            c.database = other_db;
        }
    });
    assert_eq!(b, [(true, Refusal::WrongDatabase)]);
    assert_eq!(a, [(false, Refusal::WrongDatabase)]);

    let (b, a) = refused(|c, first| c.admission = shared(&[first as u8; 32]));
    assert_eq!(b, [(true, Refusal::WrongSharedKey)]);
    assert_eq!(a, [(false, Refusal::WrongSharedKey)]);

    for keyed in [true, false] {
        let (b, a) = refused(|c, first| {
            if first == keyed {
                c.admission = shared(&[1; 32]);
            }
        });
        assert_eq!(b, [(true, Refusal::ModeMismatch)]);
        assert_eq!(a, [(false, Refusal::ModeMismatch)]);
    }
}
