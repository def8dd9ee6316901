//! JSON text straight from encoded values, the same bytes as [`super::to_string`] gives of the decoded one.

use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::BYTES_KEY;
use crate::codec::{Visit, visit};
use crate::wire::{Reader, WireError};

/// Writes what a walk tells it as compact JSON.
#[derive(Debug)]
pub struct JsonText<'o> {
    out: &'o mut String,
    /// Whether the next item or field is not the first.
    comma: bool,
}

impl<'o> JsonText<'o> {
    /// Appends to `out`.
    pub fn new(out: &'o mut String) -> Self {
        Self { out, comma: false }
    }

    /// The text of one encoded value.
    pub fn of_encoded(bytes: &[u8]) -> Result<String, WireError> {
        let mut out = String::new();
        let mut r = Reader::new(bytes);
        visit(&mut r, &mut JsonText::new(&mut out))?;
        r.finish()?;
        Ok(out)
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(',');
        }
        self.comma = true;
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        if is_plain(text.as_bytes()) {
            self.out.push_str(text);
            self.out.push('"');
            return;
        }
        let mut plain = 0;
        for (i, b) in text.bytes().enumerate() {
            if is_plain(&[b]) {
                continue;
            }
            self.out.push_str(&text[plain..i]);
            plain = i + 1;
            match b {
                b'"' => self.out.push_str("\\\""),
                b'\\' => self.out.push_str("\\\\"),
                0x08 => self.out.push_str("\\b"),
                b'\t' => self.out.push_str("\\t"),
                b'\n' => self.out.push_str("\\n"),
                0x0c => self.out.push_str("\\f"),
                b'\r' => self.out.push_str("\\r"),
                // Writing to a string cannot fail.
                _ => {
                    let _ = write!(self.out, "\\u{b:04x}");
                }
            }
        }
        self.out.push_str(&text[plain..]);
        self.out.push('"');
    }
}

impl Visit for JsonText<'_> {
    fn null(&mut self) {
        self.out.push_str("null");
    }

    fn bool(&mut self, v: bool) {
        self.out.push_str(if v { "true" } else { "false" });
    }

    fn int(&mut self, v: i64) {
        self.out.push_str(itoa::Buffer::new().format(v));
    }

    fn uint(&mut self, v: u64) {
        self.out.push_str(itoa::Buffer::new().format(v));
    }

    fn float(&mut self, v: f64) {
        // Infinities and NaN become null there.
        let _ = serde_json::to_writer(Ascii(self.out), &v);
    }

    fn bytes(&mut self, v: &[u8]) {
        self.out.push_str("{\"");
        self.out.push_str(BYTES_KEY);
        self.out.push_str("\":\"");
        STANDARD.encode_string(v, self.out);
        self.out.push_str("\"}");
    }

    fn str(&mut self, v: &str) {
        self.quoted(v);
    }

    fn begin_array(&mut self) {
        self.out.push('[');
        self.comma = false;
    }

    fn item(&mut self) {
        self.separate();
    }

    fn end_array(&mut self) {
        self.out.push(']');
        self.comma = true;
    }

    fn begin_object(&mut self) {
        self.out.push('{');
        self.comma = false;
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.quoted(name);
        self.out.push(':');
    }

    fn end_object(&mut self) {
        self.out.push('}');
        self.comma = true;
    }
}

/// Whether text can stand between quotes as it is. Without a way out of the loop, so that the compiler takes many bytes
/// at a time.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, b| plain & (*b >= 0x20) & (*b != b'"') & (*b != b'\\'))
}

/// Takes the text of numbers.
struct Ascii<'o>(&'o mut String);

impl io::Write for Ascii<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.push_str(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
