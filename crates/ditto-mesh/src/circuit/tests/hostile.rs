//! Messages that nobody honest sends, and what nobody uses any more.

use super::*;

/// What a hostile neighbour says to machine 1 of a line, and whether it is thrown out for it.
fn says(items: &[Message<'_>]) -> (Net, bool) {
    let mut net = Net::new(3, &LINE);
    let from = net.nodes[0].key;
    for m in items {
        net.give(1, &from, Item::Message(m.encode()));
    }
    let out = !net.nodes[1].violations.is_empty();
    (net, out)
}

#[test]
fn forged_routes_labels_and_credits_are_violations() {
    let keys: Vec<ShortId> = (1..4).map(|i| identity(i).peer_key().short_id()).collect();
    let [a, b, c] = [keys[0], keys[1], keys[2]];
    let own = if identity(1).peer_key() < identity(2).peer_key() { 1 } else { 2 };
    let open = |label: u32, index: usize, route: &[ShortId]| Message::Open {
        label,
        window: 1000,
        index,
        route: route.to_vec(),
    };
    let good = open(own, 1, &[a, b, c]);
    assert!(!says(std::slice::from_ref(&good)).1);
    for bad in [
        // Not from the neighbour, not to us, from somebody beyond.
        vec![open(own, 1, &[c, b, a])],
        vec![open(own, 1, &[a, c, b])],
        vec![open(own, 2, &[a, c, b])],
        // The other side's labels, one label twice, a smaller one.
        vec![open(3 - own, 1, &[a, b, c])],
        vec![good.clone(), good.clone()],
        vec![open(own + 2, 1, &[a, b]), open(own, 1, &[a, b])],
        // Nothing may be sent before OK has passed, nor more than the credit.
        vec![good.clone(), Message::Data { label: own, bytes: b"early" }],
        vec![good.clone(), Message::Credit { label: own, bytes: 5 }],
        vec![good.clone(), Message::Ok { label: own, window: 5 }],
        vec![Message::Data { label: own, bytes: b"x" }],
        vec![Message::Close { label: own + 8, code: Code::Done, at: 0 }],
    ] {
        assert!(says(&bad).1, "{bad:?}");
    }
    // More than the window of a relay.
    let (mut net, out) = says(&[good]);
    net.run(20);
    let (from, data) = (net.nodes[0].key, vec![0; MAX_DATA]);
    let whole = Limits::default().circuit_window as usize / MAX_DATA;
    let within = std::iter::repeat_n((&data[..], 0), whole);
    for (bytes, violations) in within.chain([(&data[..1], 1)]) {
        net.give(1, &from, Item::Message(Message::Data { label: own, bytes }.encode()));
        assert_eq!(net.nodes[1].violations.len(), violations);
    }
    assert!(!out);
    let grants: Vec<Message<'_>> = std::iter::once(open(own, 1, &[a, b]))
        .chain((0..5).map(|_| Message::Credit { label: own, bytes: 1 << 20 }))
        .collect();
    assert!(says(&grants).1);
}

#[test]
fn what_crosses_a_close_is_no_violation() {
    let keys: Vec<ShortId> = (1..4).map(|i| identity(i).peer_key().short_id()).collect();
    let own = if identity(1).peer_key() < identity(2).peer_key() { 1 } else { 2 };
    let open = Message::Open { label: own, window: 1000, index: 1, route: keys[..2].to_vec() };
    let close = Message::Close { label: own, code: Code::Done, at: 0 };
    let late = [
        open,
        close.clone(),
        Message::Data { label: own, bytes: b"late" },
        Message::Credit { label: own, bytes: 9 },
        close,
    ];
    assert!(!says(&late).1);
}

#[test]
fn ten_thousand_hostile_opens_cost_little_and_hit_nobody_else() {
    let mut net = Net::new(4, &[(0, 1), (1, 2), (3, 1)]);
    let (from, keys) = (net.nodes[0].key, net.nodes.iter().map(|n| n.key.short_id()).collect::<Vec<_>>());
    let own = if net.nodes[0].key < net.nodes[1].key { 1 } else { 2 };
    for i in 0..10_000u32 {
        let route = if i % 2 == 0 { vec![keys[0], keys[1], keys[2]] } else { vec![keys[0], keys[1]] };
        let label = own + 2 * i;
        let m = Message::Open { label, window: 100, index: 1, route };
        net.give(1, &from, Item::Message(m.encode()));
        if i % 3 == 0 {
            let m = Message::Close { label, code: Code::Done, at: 0 };
            net.give(1, &from, Item::Message(m.encode()));
        }
        if i % 100 == 0 {
            // Machine 2 reads, machine 0 does not.
            net.carry(1, 2);
            net.carry(2, 1);
        }
        let s = net.nodes[1].circuits.stats();
        assert!(s.relayed + s.ends <= Limits::default().max_circuits_per_peer, "{s:?}");
    }
    assert!(net.nodes[1].violations.is_empty());
    assert!(net.nodes[2].log.is_empty() && net.nodes[1].log.is_empty());
    // Another neighbour is served as ever.
    let (id, target) = (CircuitId(1), net.nodes[2].key);
    net.nodes[3].call(net.now, |c, cx| c.open(id, target, 3, cx));
    net.send(3, id, b"still here", 1);
    net.hook = Box::new(|from, to, item| if from == 0 || to == 0 { vec![] } else { vec![item] });
    net.run(200);
    assert_eq!(net.nodes[2].messages(), [b"still here"]);
    // When the hostile one is thrown out, nothing of it stays.
    net.nodes[1].circuits.peer_down(&from);
    net.run(40_000);
    let s = net.nodes[1].circuits.stats();
    assert_eq!((s.relayed, s.ends), (1, 0));
}

#[test]
fn a_target_throws_out_who_breaks_the_rules_inside() {
    // The opener is hostile inside its own circuit; the neighbours are not to blame.
    for garbage in [
        vec![0xff; 64],
        {
            let mut b = vec![];
            for channel in 1..300u64 {
                Frame::Open { channel, service: 9, class: 1, window: 1 }.encode(&mut b);
            }
            b
        },
        {
            let mut b = vec![];
            Frame::Open { channel: 1, service: 7, class: 2, window: 1 }.encode(&mut b);
            Frame::Data { channel: 1, payload: &vec![0; 2000], end: false, fin: false }.encode(&mut b);
            Frame::Data { channel: 1, payload: &[], end: true, fin: false }.encode(&mut b);
            b
        },
    ] {
        let mut net = Net::new(2, &[(0, 1)]);
        let (from, keys) = (net.nodes[0].key, [net.nodes[0].key.short_id(), net.nodes[1].key.short_id()]);
        let label = if net.nodes[0].key < net.nodes[1].key { 1 } else { 2 };
        let m = Message::Open { label, window: 1000, index: 1, route: keys.to_vec() };
        net.give(1, &from, Item::Message(m.encode()));
        let (resume, stream, purpose, window, frames) = (false, [4; 16], 0, 100, 0);
        let mut bytes = wire::Greeting { resume, stream, purpose, window, frames, proof: None }.encode();
        bytes.extend_from_slice(&garbage);
        net.give(1, &from, Item::Message(Message::Data { label, bytes: &bytes }.encode()));
        net.run(20);
        assert_eq!(net.nodes[1].end(), Some(CircuitEnd::Violation), "{:x?}", &garbage[..8]);
        assert!(net.nodes[1].violations.is_empty());
        assert_eq!(net.nodes[1].circuits.stats().ends, 0);
    }
}

#[test]
fn a_circuit_on_which_nobody_greets_is_closed() {
    let mut net = Net::new(2, &[(0, 1)]);
    let (from, keys) = (net.nodes[0].key, vec![net.nodes[0].key.short_id(), net.nodes[1].key.short_id()]);
    let label = if net.nodes[0].key < net.nodes[1].key { 1 } else { 2 };
    let m = Message::Open { label, window: 1000, index: 1, route: keys };
    net.give(1, &from, Item::Message(m.encode()));
    assert_eq!(net.nodes[1].circuits.stats().ends, 1);
    net.run(10_100);
    assert_eq!(net.nodes[1].circuits.stats().ends, 0);
    assert!(net.nodes[1].log.is_empty());
}

#[test]
fn random_circuit_messages_never_panic() {
    let mut state = 12345u64;
    let mut next = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for _ in 0..200 {
        let mut net = Net::new(3, &LINE);
        let keys: Vec<ShortId> = net.nodes.iter().map(|n| n.key.short_id()).collect();
        for _ in 0..60 {
            let from = [0, 2][next(2) as usize];
            let mut b = vec![1 + next(6) as u8];
            put_varint(&mut b, 1 + next(6));
            match b[0] {
                1 => {
                    put_varint(&mut b, next(100_000));
                    let n = 2 + next(2) as u8;
                    b.extend_from_slice(&[1 + next(2) as u8, n]);
                    let mut route = keys.clone();
                    if from == 2 {
                        route.reverse();
                    }
                    b.extend(route.iter().take(n.into()).flatten());
                }
                3 => b.extend((0..1 + next(300)).map(|_| next(256) as u8)),
                5 => b.extend_from_slice(&[next(10) as u8, next(12) as u8]),
                _ => put_varint(&mut b, next(100_000)),
            }
            let item = if next(8) == 0 { Item::Datagram(b[1..].to_vec()) } else { Item::Message(b) };
            let peer = net.nodes[from].key;
            net.give(1, &peer, item);
            net.carry(1, from);
        }
        net.run(100);
    }
}

#[test]
fn passing_circuits_on_which_nobody_says_anything_are_closed() {
    // The ends are accomplices: one opens all it may, the other agrees. Machine 1 only passes on.
    let mut net = Net::new(3, &LINE);
    let [from, to] = [net.nodes[0].key, net.nodes[2].key];
    let route: Vec<ShortId> = net.nodes.iter().map(|n| n.key.short_id()).collect();
    let own = if net.nodes[0].key < net.nodes[1].key { 1 } else { 2 };
    let onward = if net.nodes[1].key < net.nodes[2].key { 1 } else { 2 };
    net.hook = Box::new(|_, _, _| vec![]);
    for i in 0..64 {
        let m = Message::Open { label: own + 2 * i, window: 1000, index: 1, route: route.clone() };
        net.give(1, &from, Item::Message(m.encode()));
        let m = Message::Ok { label: onward + 2 * i, window: 1000 };
        net.give(1, &to, Item::Message(m.encode()));
    }
    let relayed = |net: &Net| net.nodes[1].circuits.stats().relayed;
    assert_eq!(relayed(&net), 64);
    // One is used now and then, from either side: with data, and with datagrams.
    for i in 0..6 {
        net.run(40_000);
        let (label, peer) = if i % 2 == 0 { (own, from) } else { (onward, to) };
        let item = match i {
            0 | 1 => Item::Message(Message::Data { label, bytes: b"x" }.encode()),
            _ => Item::Datagram(join_datagram(label, b"x")),
        };
        net.give(1, &peer, item);
        assert_eq!(relayed(&net), if i == 0 { 64 } else { 1 }, "after {} s", 40 * (i + 1));
    }
    net.run(80_000);
    assert_eq!(relayed(&net), 0);
    assert!(net.nodes[1].violations.is_empty());
    // The places are free again.
    let m = Message::Open { label: own + 128, window: 1000, index: 1, route };
    net.give(1, &from, Item::Message(m.encode()));
    assert_eq!(relayed(&net), 1);
}
