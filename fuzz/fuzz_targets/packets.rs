//! Packets of a hostile radio peer: refused or delivered, and never more delivered than was sent.
#![no_main]

use ditto_mesh::transport::Role;
use ditto_net::platform::packet::{MAX_PACKET, PacketLink, WINDOW};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, Vec<Vec<u8>>)| {
    let (dials, packets) = input;
    let mut link = PacketLink::new(if dials { Role::Dialer } else { Role::Acceptor }, 182, 0);
    for (now, packet) in packets.iter().enumerate() {
        let now = now as u64 * 20;
        if link.room() > 0 {
            link.push(vec![1; link.room()]);
        }
        match link.receive(packet, now) {
            Ok(bytes) => assert!(bytes.len() < packet.len().max(1)),
            Err(_) => return,
        }
        let mut polled = 0;
        while let Ok(Some(packet)) = link.poll(now) {
            assert!(packet.len() <= MAX_PACKET);
            polled += 1;
            assert!(polled <= 2 * WINDOW + 4, "one packet makes no flood");
        }
    }
});
