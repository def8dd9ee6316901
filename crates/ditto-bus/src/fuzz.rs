//! Doors for the fuzz targets into decoders that only the machine calls. Not part of the interface.

use crate::envelope::{Fragment, Word, decode_message};

/// What arrives on the circuit of a stream, and single messages and fragments: refused, or its own canonical form, and
/// a batch is as many bytes as its messages stand for.
pub fn bus(bytes: &[u8]) {
    if let Ok(Some(word)) = Word::decode(bytes.to_vec()) {
        assert_eq!(word.clone().encode(), bytes);
        if let Word::Data(mut batch) = word {
            let mut total = 0;
            while let Some((_, n)) = batch.pop() {
                total += n;
            }
            assert_eq!(total, bytes.len());
        }
    }
    if let Ok(Some(fragment)) = Fragment::decode(bytes) {
        assert_eq!(fragment.encode(), bytes);
    }
    if let Ok(Some(data)) = decode_message(bytes.to_vec()) {
        assert_eq!(bytes.get(2..), Some(&data[..]));
    }
}
