//! Doors for the fuzz targets into decoders that only the machine calls. Not part of the interface.

use crate::hello::Greeting;
use crate::presence::{Message, SignedRecord};

/// What follows the length of a greeting. One that is read is written the same way again, except for what this release
/// does not know.
pub fn greeting(body: &[u8]) {
    if let Ok(Greeting::Hello(hello)) = Greeting::decode(body) {
        let again = hello.encode();
        let read = Greeting::decode(&again[2..]);
        assert_eq!(read, Ok(Greeting::Hello(hello)));
    }
    let mut stream = body.to_vec();
    while let Ok(Some(_)) = Greeting::take(&mut stream) {}
    assert!(stream.len() <= body.len());
}

/// A message of the presence channel. Its records are those of whom their first bytes say.
pub fn presence(bytes: &[u8]) {
    if let Ok(Message::Records(items)) = Message::decode(bytes) {
        for packed in items {
            if let Ok(signed) = SignedRecord::parse(packed.record) {
                assert_eq!(packed.head(), Ok((*signed.record.key.as_bytes(), signed.record.seq)));
                assert_eq!(SignedRecord::parse_of(signed.record.key, packed.record).as_ref(), Ok(&signed));
            }
        }
    }
    if let Ok(signed) = SignedRecord::parse(bytes) {
        // Nobody has the key of the fuzzer's records.
        let _ = signed.verify(&signed.record.key.verifying(), &[0; 16]);
    }
}

/// Messages, datagrams and greetings of circuits: refused, or their own canonical form.
pub fn circuit(bytes: &[u8]) {
    use crate::circuit::wire::{Greeting, Message, join_datagram, split_datagram};
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
    if let Some((label, rest)) = split_datagram(bytes) {
        assert_eq!(join_datagram(label, rest), bytes);
    }
    let mut rest = bytes.to_vec();
    if let Ok(Some(greeting)) = Greeting::take(&mut rest) {
        let used = bytes.len() - rest.len();
        assert_eq!(greeting.encode(), bytes[..used]);
    }
}
