//! What happened, as a hash of everything and as text for who wants to read it.

use std::fmt::Write as _;

/// The record of a run. Two runs with equal hashes did the same, byte for byte.
pub(crate) struct Trace {
    hash: blake3::Hasher,
    /// Lines for a reader, if they are wanted.
    text: Option<String>,
}

impl Trace {
    pub(crate) fn new(text: bool) -> Self {
        Self { hash: blake3::Hasher::new(), text: text.then(String::new) }
    }

    /// Something that matters and is a line.
    pub(crate) fn line(&mut self, now_us: u64, line: &str) {
        self.bytes(now_us, 0, line.as_bytes());
        self.note(now_us, || line.to_owned());
    }

    /// Text for a reader, which is no part of the hash.
    pub(crate) fn note(&mut self, now_us: u64, line: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            let ms = now_us / 1000 - crate::clock::START_MS;
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{:>6}.{:03} {}", ms / 1000, ms % 1000, line());
        }
    }

    /// Bytes that are not worth a line.
    pub(crate) fn bytes(&mut self, now_us: u64, node: usize, bytes: &[u8]) {
        self.hash.update(&now_us.to_le_bytes());
        self.hash.update(&(node as u64).to_le_bytes());
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    pub(crate) fn hash(&self) -> blake3::Hash {
        self.hash.finalize()
    }

    pub(crate) fn take_text(&mut self) -> String {
        self.text.take().unwrap_or_default()
    }
}
