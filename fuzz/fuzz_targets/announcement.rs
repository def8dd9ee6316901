//! Multicast datagrams: refused, or what they say is what was said. With a MAC that fits, so that the fields are reached.
#![no_main]

use ditto_net::{Announcement, MAX_DATAGRAM, MulticastScope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let scope = MulticastScope([7; 32]);
    assert!(Announcement::decode(bytes, &scope).is_err() || bytes.len() <= MAX_DATAGRAM);
    if let Ok(message) = Announcement::decode(&ditto_net::fuzz::sealed(bytes, &scope), &scope) {
        assert_eq!(Announcement::decode(&message.encode(&scope), &scope), Ok(message));
    }
});
