use super::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Two ends with a wire in each direction that keeps the order and loses what it is told to.
struct Wire {
    ends: [PacketLink; 2],
    flying: [VecDeque<(u64, Vec<u8>)>; 2],
    arrived: [Vec<u8>; 2],
    now: u64,
    latency: u64,
    packets: u64,
    most_under_way: usize,
}

impl Wire {
    fn new(sizes: [usize; 2], latency: u64) -> Self {
        Self {
            ends: [PacketLink::new(Role::Dialer, sizes[0], 0), PacketLink::new(Role::Acceptor, sizes[1], 0)],
            flying: [VecDeque::new(), VecDeque::new()],
            arrived: [Vec::new(), Vec::new()],
            now: 0,
            latency,
            packets: 0,
            most_under_way: 0,
        }
    }

    /// Lets everything happen up to the next moment at which something is due. `loses` decides over each packet.
    fn step(&mut self, loses: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), PacketError> {
        for end in 0..2 {
            while let Some(packet) = self.ends[end].poll(self.now)? {
                self.packets += 1;
                if !loses(&packet) {
                    self.flying[1 - end].push_back((self.now + self.latency, packet));
                }
            }
            self.most_under_way = self.most_under_way.max(self.ends[end].window.len());
        }
        let due = self.flying.iter().filter_map(|f| f.front().map(|(at, _)| *at));
        let due = due.chain(self.ends.iter().filter_map(PacketLink::deadline)).min();
        self.now = due.map_or(self.now, |due| due.max(self.now));
        for end in 0..2 {
            while self.flying[end].front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, packet) = self.flying[end].pop_front().unwrap();
                let bytes = self.ends[end].receive(&packet, self.now)?;
                self.arrived[end].extend(bytes);
            }
        }
        Ok(())
    }
}

fn data(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8 ^ salt).collect()
}

/// Carries data both ways and returns the wire at the end.
fn carry(
    mut wire: Wire,
    len: usize,
    random: &mut Random,
    mut loses: impl FnMut(&mut Random, &[u8]) -> bool,
) -> Wire {
    let data = [data(len, 1), data(len, 2)];
    let mut pushed = [0, 0];
    let mut rounds = 0;
    let mut losses = Random(random.below(u64::MAX));
    while wire.arrived[1] != data[0]
        || wire.arrived[0] != data[1]
        || !wire.ends.iter().all(PacketLink::is_flushed)
    {
        for end in 0..2 {
            let room = wire.ends[end].room().min(len - pushed[end]);
            if room > 0 {
                let n = 1 + random.below(room as u64) as usize;
                wire.ends[end].push(data[end][pushed[end]..pushed[end] + n].to_vec());
                pushed[end] += n;
            }
        }
        if let Err(e) = wire.step(&mut |packet| loses(&mut losses, packet)) {
            let state: Vec<_> =
                wire.ends.iter().map(|l| (l.base, l.next, l.window.len(), l.expected, l.resends)).collect();
            panic!("{e} at {} ms: {state:?}", wire.now);
        }
        for end in 0..2 {
            assert!(data[1 - end].starts_with(&wire.arrived[end]), "a prefix, whatever is lost");
        }
        rounds += 1;
        assert!(rounds < 1_000_000, "it comes to an end");
    }
    wire
}

#[test]
fn a_stream_arrives_whole_both_ways_whatever_is_lost() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let sizes = [20 + random.below(500) as usize, 20 + random.below(500) as usize];
        let (latency, loss) = (random.below(60), random.below(30));
        let len = 1 + random.below(20_000) as usize;
        let wire = carry(Wire::new(sizes, latency), len, &mut random, |r, _| r.below(100) < loss);
        assert!(wire.most_under_way <= WINDOW, "seed {seed}");
    }
}

#[test]
fn an_undisturbed_link_acknowledges_every_third_packet_and_repeats_nothing() {
    let len = 10_000;
    let mut link = Wire::new([182, 182], 5);
    link.ends[0].pieces.clear();
    let wire = carry(link, len, &mut Random(1), |_, _| false);
    // Both directions in random pieces: data packets are no more than pieces plus full packets.
    let data_packets = 2 * (len as u64).div_ceil(181);
    assert!(wire.packets < data_packets * 3, "{} packets for {data_packets}", wire.packets);
}

#[test]
fn losing_every_packet_once_still_works() {
    let mut seen = std::collections::HashSet::new();
    carry(Wire::new([100, 100], 10), 3_000, &mut Random(3), |_, packet| seen.insert(packet.to_vec()));
}

#[test]
fn lost_acknowledgements_do_not_double_bytes() {
    carry(Wire::new([50, 50], 10), 2_000, &mut Random(4), |r, packet| {
        packet[0] & CONTROL != 0 && packet.get(1) == Some(&ACK) && r.below(3) > 0
    });
}

#[test]
fn packets_keep_to_the_smaller_of_both_sizes() {
    let mut largest = 0;
    carry(Wire::new([512, 40], 1), 2_000, &mut Random(5), |_, packet| {
        largest = largest.max(packet.len());
        false
    });
    assert_eq!(largest, 40);
}

#[test]
fn silence_ends_the_link() {
    let mut wire = Wire::new([100, 100], 1);
    assert_eq!((0..100).find_map(|_| wire.step(&mut |_| true).err()), Some(PacketError::HandshakeTimeout));
    assert_eq!(wire.now, HANDSHAKE_TIMEOUT);

    let mut wire = Wire::new([100, 100], 1);
    while !wire.ends[0].is_open() {
        wire.step(&mut |_| false).unwrap();
    }
    wire.ends[0].push(vec![1; 300]);
    let error = (0..1000).find_map(|_| wire.step(&mut |_| true).err());
    assert_eq!(error, Some(PacketError::Unanswered));
    assert!((10_000..60_000).contains(&wire.now), "{} ms", wire.now);
}

fn open(role: Role) -> PacketLink {
    let mut link = PacketLink::new(role, 100, 0);
    let kind = if role == Role::Dialer { CONFIRM } else { CONNECT };
    link.receive(&[CONTROL_HEADER, kind, VERSION, 0, 100], 0).unwrap();
    assert!(link.is_open());
    link
}

#[test]
fn what_cannot_be_is_refused() {
    let refuse = |packet: &[u8]| open(Role::Dialer).receive(packet, 1).unwrap_err();
    assert_eq!(refuse(&[]), PacketError::Malformed("no header"));
    assert_eq!(refuse(&[0x08, 1]), PacketError::Malformed("reserved bits"));
    assert_eq!(refuse(&[CONTROL_HEADER]), PacketError::Malformed("no control type"));
    assert_eq!(refuse(&[FIRST | LAST]), PacketError::Malformed("empty packet"));
    assert_eq!(refuse(&[LAST, 1]), PacketError::Malformed("a piece inside another"));
    assert_eq!(
        refuse(&[CONTROL_HEADER | 1, ACK]),
        PacketError::Malformed("acknowledgement of what was not sent")
    );
    assert_eq!(
        refuse(&[CONTROL_HEADER, CONNECT, VERSION, 0, 100]),
        PacketError::Malformed("greeting of the wrong side")
    );
    assert_eq!(refuse(&[CONTROL_HEADER, RESET, 4]), PacketError::Reset(4));
    let greet = |packet: &[u8]| PacketLink::new(Role::Acceptor, 100, 0).receive(packet, 0).unwrap_err();
    assert_eq!(greet(&[CONTROL_HEADER, CONNECT, 9, 0, 100]), PacketError::Version(9));
    assert_eq!(greet(&[CONTROL_HEADER, CONNECT, VERSION, 0]), PacketError::Malformed("short greeting"));
    assert_eq!(
        greet(&[CONTROL_HEADER, CONNECT, VERSION, 0, 19]),
        PacketError::Malformed("packets too small")
    );
    // Of a later release: ignored, as are data before the greeting.
    assert_eq!(open(Role::Dialer).receive(&[CONTROL_HEADER, 77, 1, 2, 3], 1), Ok(Vec::new()));
    assert_eq!(PacketLink::new(Role::Dialer, 100, 0).receive(&[FIRST | LAST, 1], 0), Ok(Vec::new()));
    assert_eq!(PacketLink::reset(PacketError::Unanswered), [CONTROL_HEADER, RESET, 4]);
}

#[test]
fn a_flood_that_is_never_polled_stays_small() {
    let mut link = open(Role::Acceptor);
    assert_eq!(link.poll(0).unwrap().unwrap()[1], CONFIRM);
    for i in 0..10_000_u32 {
        let delivered = link.receive(&[FIRST | LAST | (i % 8) as u8, 7], 1).unwrap();
        assert_eq!(delivered, [7]);
    }
    assert_eq!(link.poll(1).unwrap().map(|packet| packet.len()), Some(2), "one acknowledgement");
    assert_eq!(link.poll(1).unwrap(), None);
    assert_eq!(link.room(), WINDOW * 100);
}

#[test]
fn a_gap_is_asked_for_once_until_something_comes() {
    let mut link = open(Role::Acceptor);
    assert_eq!(link.poll(0).unwrap().unwrap()[1], CONFIRM);
    for counter in 1..6 {
        link.receive(&[FIRST | LAST | counter, 1], 10).unwrap();
    }
    assert_eq!(link.poll(10).unwrap(), Some(vec![CONTROL_HEADER, REPEAT]));
    link.receive(&[FIRST | LAST | 5, 1], 20).unwrap();
    assert_eq!(link.poll(20).unwrap(), None);
    link.receive(&[FIRST | LAST | 5, 1], 10 + REPEAT_INTERVAL).unwrap();
    assert_eq!(link.poll(200).unwrap(), Some(vec![CONTROL_HEADER, REPEAT]), "the first one was lost");
}
