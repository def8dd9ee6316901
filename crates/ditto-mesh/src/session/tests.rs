use proptest::prelude::*;

use super::*;

/// One side, with the plaintext that is under way to it.
struct Side {
    session: Session,
    inbox: Vec<u8>,
    got: Vec<(Service, Vec<u8>)>,
    transmitted: Vec<u64>,
}

impl Side {
    fn new(controller: bool, limits: &Limits) -> Self {
        let session =
            Session::new([1; 8], Service::LINK, controller, limits, limits.max_frame, limits.window.into());
        Self { session, inbox: Vec::new(), got: Vec::new(), transmitted: Vec::new() }
    }

    fn take(&mut self, out: Vec<Delivery>) {
        for d in out {
            match d {
                Delivery::Message { service, bytes } => {
                    self.session.consume(service, bytes.len());
                    self.got.push((service, bytes));
                }
                Delivery::Transmitted { tag, .. } => self.transmitted.push(tag),
                Delivery::Datagram { .. } | Delivery::Closed { .. } | Delivery::Failed { .. } => {}
            }
        }
    }

    fn read(&mut self, now: u64, max: usize) {
        let mut at = 0;
        let end = self.inbox.len().min(max);
        while let Some((frame, used)) = Frame::decode(&self.inbox[at..end], 64 << 10).unwrap() {
            at += used;
            let mut out = Vec::new();
            self.session.on_frame(frame, now, &mut out).unwrap();
            self.take(out);
        }
        self.inbox.drain(..at);
    }

    fn write(&mut self, to: &mut Side, now: u64, budget: usize, frame: usize) {
        let mut out = Rope::default();
        self.session.fill(now, budget, frame, &mut out, &mut Vec::new());
        to.inbox.extend(out.to_vec());
    }
}

fn limits() -> Limits {
    Limits { window: 4096, max_frame: 2048, ..Limits::default() }
}

/// The link breaks: what is under way is lost, and both go on with what they have received.
fn switch(a: &mut Side, b: &mut Side) {
    a.inbox.clear();
    b.inbox.clear();
    let (from_a, from_b) = (a.session.received(), b.session.received());
    let mut out = Vec::new();
    assert!(b.session.resume(from_a, &mut out));
    b.take(out);
    let mut out = Vec::new();
    assert!(a.session.resume(from_b, &mut out));
    a.take(out);
}

#[derive(Clone, Debug)]
enum Step {
    Send { from_a: bool, service: usize, size: usize },
    Write { from_a: bool, budget: usize },
    Read { at_a: bool, max: usize },
    Switch,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), 0usize..6, 1usize..9000).prop_map(|(from_a, service, size)| Step::Send { from_a, service, size }),
        6 => (any::<bool>(), 1usize..6000).prop_map(|(from_a, budget)| Step::Write { from_a, budget }),
        6 => (any::<bool>(), 1usize..6000).prop_map(|(at_a, max)| Step::Read { at_a, max }),
        1 => Just(Step::Switch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_doubled_or_reordered_across_links(steps in proptest::collection::vec(step(), 1..150)) {
        let limits = limits();
        let (mut a, mut b) = (Side::new(true, &limits), Side::new(false, &limits));
        let mut sent = [Vec::new(), Vec::new()];
        let mut now = 0;
        for s in steps {
            now += 7;
            match s {
                Step::Send { from_a, service, size } => {
                    let tag = now;
                    let bytes: Vec<u8> = (0..size).map(|i| (i as u64 + tag) as u8).collect();
                    let service = Service::LINK[service];
                    sent[usize::from(!from_a)].push((service, bytes.clone()));
                    let side = if from_a { &mut a } else { &mut b };
                    side.session.send(service, bytes, Some(tag));
                }
                Step::Write { from_a: true, budget } => a.write(&mut b, now, budget, 1000),
                Step::Write { from_a: false, budget } => b.write(&mut a, now, budget, 700),
                Step::Read { at_a, max } => if at_a { a.read(now, max) } else { b.read(now, max) },
                Step::Switch => switch(&mut a, &mut b),
            }
        }
        for _ in 0..400 {
            now += 50;
            a.write(&mut b, now, 4000, 1000);
            b.write(&mut a, now, 4000, 1000);
            a.read(now, usize::MAX);
            b.read(now, usize::MAX);
        }
        for (side, sent) in [(&b, &sent[0]), (&a, &sent[1])] {
            for service in Service::LINK.iter().copied() {
                let of = |all: &[(Service, Vec<u8>)]| -> Vec<Vec<u8>> {
                    all.iter().filter(|(s, _)| *s == service).map(|(_, m)| m.clone()).collect()
                };
                prop_assert_eq!(of(&side.got), of(sent));
            }
        }
        prop_assert_eq!(a.transmitted.len(), sent[0].len());
        prop_assert_eq!(b.transmitted.len(), sent[1].len());
        prop_assert!(a.session.unacked.is_empty() && b.session.unacked.is_empty());
        prop_assert!(a.inbox.is_empty() && b.inbox.is_empty(), "both fall silent");
    }
}

fn open_pair(limits: &Limits) -> (Side, Side) {
    let (mut a, mut b) = (Side::new(true, limits), Side::new(false, limits));
    a.write(&mut b, 0, 1000, 1000);
    b.read(0, usize::MAX);
    (a, b)
}

#[test]
fn a_peer_of_an_earlier_release_has_no_blobs_and_stays() {
    let limits = Limits::default();
    let earlier = &Service::LINK[..5];
    assert!(!earlier.contains(&Service::Blobs));
    let mut a = Side::new(true, &limits);
    let mut b = Side::new(false, &limits);
    b.session = Session::new([1; 8], earlier, false, &limits, limits.max_frame, limits.window.into());
    a.session.send(Service::Blobs, vec![1; 400_000], Some(1));
    a.session.send(Service::Blobs, vec![2; 10], Some(2));
    a.write(&mut b, 0, 1000, 1000);
    b.read(0, usize::MAX);
    b.write(&mut a, 0, 1000, 1000);
    let mut out = Vec::new();
    let mut at = 0;
    while let Some((frame, used)) = Frame::decode(&a.inbox[at..], 64 << 10).unwrap() {
        at += used;
        a.session.on_frame(frame, 0, &mut out).unwrap();
    }
    assert_eq!(out, [Delivery::Failed { tag: 1 }, Delivery::Failed { tag: 2 }]);
    assert!(a.session.is_refused(Service::Blobs) && !a.session.is_refused(Service::Bus));
    // What was made for the channel before the refusal came is skipped.
    a.session.send(Service::Bus, vec![3; 10], None);
    a.inbox.clear();
    a.write(&mut b, 0, 100_000, 1000);
    b.read(0, usize::MAX);
    assert_eq!(b.got, [(Service::Bus, vec![3; 10])]);
    // Only an optional service may be refused.
    let channel = a.session.channels[Service::Bus as usize].id.unwrap();
    let refusal = Frame::Reset { channel, code: RESET_UNKNOWN_SERVICE };
    assert!(a.session.on_frame(refusal, 0, &mut Vec::new()).is_err());
}

#[test]
fn a_bus_message_passes_a_bulk_transfer() {
    let (mut a, mut b) = open_pair(&Limits::default());
    a.session.send(Service::SyncBulk, vec![0; 10 << 20], Some(1));
    a.write(&mut b, 0, 50_000, 1000);
    a.session.send(Service::Bus, b"quick".to_vec(), Some(2));
    let before = b.inbox.len();
    // Whatever was handed over before, the message is within the next two frames.
    a.write(&mut b, 0, before + 1100, 1000);
    b.read(0, usize::MAX);
    assert_eq!(b.got, [(Service::Bus, b"quick".to_vec())]);
}

/// What a side would send now: DATA, FACK.
fn kinds(side: &mut Side, now: u64, to: &mut Side) -> (bool, bool) {
    let at = to.inbox.len();
    side.write(to, now, 16 << 10, 16 << 10);
    let (mut bytes, mut found) = (&to.inbox[at..], (false, false));
    while let Some((frame, used)) = Frame::decode(bytes, 64 << 10).unwrap() {
        found.0 |= matches!(frame, Frame::Data { .. });
        found.1 |= matches!(frame, Frame::Fack { .. });
        bytes = &bytes[used..];
    }
    found
}

#[test]
fn acknowledgements_ride_on_answers_where_answers_are_usual() {
    let (mut a, mut b) = open_pair(&Limits::default());
    // The wider windows of some channels.
    for now in [0, 50] {
        kinds(&mut b, now, &mut a);
        a.read(now, usize::MAX);
        kinds(&mut a, now, &mut b);
        b.read(now, usize::MAX);
    }
    let send = |s: &mut Side| s.session.send(Service::Bus, vec![1; 64], Some(1));
    // Nothing is known of answers: at once.
    send(&mut a);
    assert_eq!(kinds(&mut a, 100, &mut b), (true, false));
    b.read(100, usize::MAX);
    assert_eq!(kinds(&mut b, 100, &mut a), (false, true));
    // An answer came soon after, so the next one waits for it.
    send(&mut b);
    assert_eq!(kinds(&mut b, 101, &mut a), (true, false));
    a.read(101, usize::MAX);
    for now in [101, 110, 120] {
        send(&mut a);
        assert_eq!(kinds(&mut a, now, &mut b), (true, true));
        b.read(now, usize::MAX);
        assert_eq!(kinds(&mut b, now, &mut a), (false, false));
        assert_eq!(b.session.fack_deadline(), Some(now + ANSWER_MS));
        send(&mut b);
        assert_eq!(kinds(&mut b, now + 1, &mut a), (true, true));
        a.read(now + 1, usize::MAX);
    }
    assert_eq!(a.transmitted.len(), 4);
    // It waits no longer than that, and then not again.
    send(&mut a);
    kinds(&mut a, 200, &mut b);
    b.read(200, usize::MAX);
    assert_eq!(kinds(&mut b, 201, &mut a), (false, false));
    assert_eq!(kinds(&mut b, 202, &mut a), (false, true));
    send(&mut a);
    kinds(&mut a, 300, &mut b);
    b.read(300, usize::MAX);
    assert_eq!(kinds(&mut b, 300, &mut a), (false, true));
    // A lot is acknowledged whatever else.
    b.session.answers = true;
    a.session.send(Service::SyncBulk, vec![0; 300 << 10], None);
    let before = b.session.facked;
    for _ in 0..18 {
        kinds(&mut a, 301, &mut b);
        b.read(301, usize::MAX);
        kinds(&mut b, 301, &mut a);
    }
    assert!(b.session.facked > before);
}

#[test]
fn an_acknowledgement_waits_for_what_is_known_to_come() {
    let (mut a, mut b) = open_pair(&Limits::default());
    for now in [0, 50] {
        kinds(&mut b, now, &mut a);
        a.read(now, usize::MAX);
        kinds(&mut a, now, &mut b);
        b.read(now, usize::MAX);
    }
    let send = |a: &mut Side, b: &mut Side, now| {
        a.session.send(Service::SyncBulk, vec![1; 10_000], Some(1));
        assert_eq!(kinds(a, now, b), (true, false));
        b.read(now, usize::MAX);
    };
    // The message is whole, but part of another record is here.
    send(&mut a, &mut b, 100);
    b.session.expect_more(true);
    assert_eq!(kinds(&mut b, 100, &mut a), (false, false));
    assert_eq!(b.session.fack_deadline(), Some(100 + ANSWER_MS));
    // The rest has come: one acknowledgement for both.
    send(&mut a, &mut b, 101);
    b.session.expect_more(false);
    assert_eq!(kinds(&mut b, 101, &mut a), (false, true));
    a.read(101, usize::MAX);
    assert_eq!(a.transmitted.len(), 2);
    // The rest does not come.
    send(&mut a, &mut b, 200);
    b.session.expect_more(true);
    assert_eq!(kinds(&mut b, 200, &mut a), (false, false));
    assert_eq!(kinds(&mut b, 200 + ANSWER_MS, &mut a), (false, true));
    // There is no end of it.
    for _ in 0..FACK_BYTES_COMING / 10_000 {
        send(&mut a, &mut b, 300);
        assert_eq!(kinds(&mut b, 300, &mut a), (false, false));
    }
    send(&mut a, &mut b, 300);
    assert!(kinds(&mut b, 300, &mut a).1);
}

#[test]
fn an_acknowledgement_waits_for_the_rest_of_a_message_that_has_begun() {
    let (mut a, mut b) = open_pair(&Limits::default());
    for now in [0, 50] {
        kinds(&mut b, now, &mut a);
        a.read(now, usize::MAX);
        kinds(&mut a, now, &mut b);
        b.read(now, usize::MAX);
    }
    // The first message is whole, and a part of the second is here.
    a.session.send(Service::SyncBulk, vec![1; 10_000], Some(1));
    a.session.send(Service::SyncBulk, vec![2; 20_000], Some(2));
    kinds(&mut a, 100, &mut b);
    b.read(100, usize::MAX);
    assert_eq!(b.got.len(), 1);
    assert_eq!(kinds(&mut b, 100, &mut a), (false, false));
    assert_eq!(b.session.fack_deadline(), Some(100 + ANSWER_MS));
    kinds(&mut a, 101, &mut b);
    b.read(101, usize::MAX);
    assert_eq!(kinds(&mut b, 101, &mut a), (false, true));
    a.read(101, usize::MAX);
    assert_eq!(a.transmitted.len(), 2);
    // What has begun does not go on.
    a.session.send(Service::SyncBulk, vec![1; 10_000], Some(3));
    a.session.send(Service::SyncBulk, vec![2; 20_000], Some(4));
    kinds(&mut a, 200, &mut b);
    b.read(200, usize::MAX);
    assert_eq!(kinds(&mut b, 200, &mut a), (false, false));
    assert_eq!(kinds(&mut b, 200 + ANSWER_MS, &mut a), (false, true));
}

#[test]
fn a_piece_of_a_circuit_is_acknowledged_with_others() {
    let (mut a, mut b) = open_pair(&Limits::default());
    for now in [0, 50] {
        kinds(&mut b, now, &mut a);
        a.read(now, usize::MAX);
        kinds(&mut a, now, &mut b);
        b.read(now, usize::MAX);
    }
    a.session.send(Service::Circuits, vec![1; 10_000], None);
    kinds(&mut a, 100, &mut b);
    b.read(100, usize::MAX);
    assert_eq!(kinds(&mut b, 100, &mut a), (false, false));
    assert_eq!(kinds(&mut b, 100 + FACK_DELAY_MS, &mut a), (false, true));
    for _ in 0..FACK_BYTES / 10_000 + 1 {
        a.session.send(Service::Circuits, vec![1; 10_000], None);
        kinds(&mut a, 200, &mut b);
        b.read(200, usize::MAX);
    }
    assert_eq!(kinds(&mut b, 200, &mut a), (false, true));
}

#[test]
fn frames_fill_records_and_are_not_cut_by_them() {
    let (mut a, mut b) = open_pair(&Limits::default());
    for size in [100, 40_000, 64 << 10, 9_000, 1, 60_000] {
        a.session.send(Service::SyncBulk, vec![7; size], None);
    }
    let (mut records, mut bytes) = (0, 0);
    loop {
        let at = b.inbox.len();
        a.write(&mut b, 0, 16 << 10, 16 << 10);
        let mut record = &b.inbox[at..];
        assert!(record.len() <= 16 << 10);
        if record.is_empty() {
            break;
        }
        (records, bytes) = (records + 1, bytes + record.len());
        while let Some((_, used)) = Frame::decode(record, 64 << 10).unwrap() {
            record = &record[used..];
        }
        assert!(record.is_empty(), "a frame is cut");
    }
    assert!(bytes > 170_000 && records <= bytes / (15 << 10), "{bytes} bytes in {records} records");
    b.read(0, usize::MAX);
    assert_eq!(b.got.len(), 6);
}

#[test]
fn datagrams_expire_and_make_room_for_newer_ones() {
    let (mut a, mut b) = open_pair(&Limits::default());
    assert!(a.session.send_datagram(Service::Bus, vec![1; 100], DatagramTag::App(1), 0).is_empty());
    assert!(a.session.send_datagram(Service::Bus, vec![2; 100], DatagramTag::App(2), 60).is_empty());
    assert_eq!(a.session.datagram_deadline(), Some(101));
    let mut fates = Vec::new();
    let mut out = Rope::default();
    a.session.fill(101, 1000, 1000, &mut out, &mut fates);
    b.inbox.extend(out.to_vec());
    assert_eq!(
        fates,
        [
            DatagramFate { tag: DatagramTag::App(1), sent: false },
            DatagramFate { tag: DatagramTag::App(2), sent: true }
        ]
    );
    let mut dropped = Vec::new();
    for tag in 0..600 {
        dropped.extend(a.session.send_datagram(Service::Bus, vec![0; 1000], DatagramTag::App(tag), 200));
    }
    assert_eq!(dropped, (0..76).map(DatagramTag::App).collect::<Vec<_>>());
}

#[test]
fn an_unacknowledged_sender_pauses() {
    let limits = Limits { max_unacknowledged: 20_000, ..Limits::default() };
    let (mut a, mut b) = open_pair(&limits);
    a.session.send(Service::SyncLive, vec![0; 200_000], None);
    a.write(&mut b, 0, 1 << 20, 1000);
    assert!(a.session.unacked_bytes < 22_000);
    let held = b.inbox.len();
    b.read(0, usize::MAX);
    b.write(&mut a, 100, 1000, 1000);
    a.read(100, usize::MAX);
    a.write(&mut b, 100, 1 << 20, 1000);
    assert!(held > 0 && !b.inbox.is_empty());
}

#[test]
fn cheating_is_a_violation() {
    let limits = limits();
    let mut out = Vec::new();
    let mut fails = |frames: &[Frame<'_>], text: &str| {
        let mut s = Side::new(false, &limits).session;
        let (last, first) = frames.split_last().unwrap();
        for f in first {
            s.on_frame(*f, 0, &mut out).unwrap();
        }
        let e = s.on_frame(*last, 0, &mut out).unwrap_err().to_string();
        assert!(e.contains(text), "{e}");
    };
    let open = Frame::Open { channel: 1, service: 6, class: 2, window: 1000 };
    fails(&[Frame::Data { channel: 1, payload: b"x", end: true, fin: false }], "not open");
    fails(&[open, open], "twice");
    fails(&[open, Frame::Open { channel: 3, service: 6, class: 2, window: 1000 }], "twice");
    fails(&[Frame::Open { channel: 1, service: 6, class: 2, window: u64::MAX }], "window");
    fails(&[Frame::Credit { channel: 9, bytes: 1 }], "credit");
    fails(&[open, Frame::Credit { channel: 1, bytes: u64::MAX }], "credit");
    fails(&[Frame::Fack { frames: 1 }], "acknowledged");
    fails(&[open, Frame::Reset { channel: 1, code: 0 }], "reset");
    let big = [0; 1500];
    let more = Frame::Data { channel: 1, payload: &big, end: true, fin: false };
    fails(&[open, more, more, more], "credit");
    let opens: Vec<Frame<'_>> =
        (1..=257).map(|channel| Frame::Open { channel, service: 200, class: 1, window: 0 }).collect();
    fails(&opens, "too many channels");
}

#[test]
fn unknown_services_are_reset_and_their_data_ignored() {
    let (mut a, mut b) = open_pair(&limits());
    Frame::Open { channel: 99, service: 42, class: 5, window: 10 }.encode(&mut b.inbox);
    Frame::Data { channel: 99, payload: b"early", end: true, fin: false }.encode(&mut b.inbox);
    b.read(0, usize::MAX);
    assert_eq!(b.got, []);
    let mut filled = Rope::default();
    b.session.fill(0, 1000, 1000, &mut filled, &mut Vec::new());
    let mut out = filled.to_vec();
    let mut reset = false;
    while let Some((frame, used)) = Frame::decode(&out, 2048).unwrap() {
        reset |= matches!(frame, Frame::Reset { channel: 99, .. });
        out.drain(..used);
    }
    assert!(reset);
    a.session.drain();
}
