//! The one document of every benchmark.

use ditto_types::{Object, Value};

use crate::rng::Rng;

/// Length of the document as compact JSON.
pub const WORKLOAD_BYTES: usize = 200;

/// The values of the field `status`.
pub const WORKLOAD_STATUSES: [&str; 5] = ["new", "open", "packed", "shipped", "closed"];

/// Makes the documents of this generator differ from other uses of the same small seeds.
const SALT: u64 = 0x6469_7474_6f5f_646f;
/// The moment of `ts` of the first document, in ms since 1970, and the span of all of them: a year.
const FIRST_TS: u64 = 1_735_689_600_000;
const TS_SPAN: u64 = 365 * 24 * 3600 * 1000;
/// Bytes of the compact JSON without the text of `note` and the two numbers and the word of varying length.
const FIXED_BYTES: usize = r#"{"_id":"","customer":"","note":"","qty":,"sku":"","status":"","store":,"ts":}"#
    .len()
    + 24
    + 6
    + 8
    + 13;

/// The document number `index`: always the same one for the same number, another for every other.
///
/// Compact JSON of it is [`WORKLOAD_BYTES`] long. It has 8 fields: `_id` (24 random hexadecimal digits), `customer`,
/// `note`, `qty` (0 to 999), `sku`, `status` (one of [`WORKLOAD_STATUSES`]), `store` (0 to 99) and `ts` (ms).
pub fn workload_document(index: u64) -> Object {
    let mut rng = Rng::new(Rng::new(index ^ SALT).next_u64());
    let id = format!("{:016x}{:08x}", rng.next_u64(), rng.next_u64() >> 32);
    let customer = format!("c{:05}", rng.below(100_000));
    let sku = format!("{:08X}", rng.next_u64() >> 32);
    let status = *rng.pick(&WORKLOAD_STATUSES);
    let (store, qty) = (rng.below(100), rng.below(1000));
    let ts = FIRST_TS + rng.below(TS_SPAN);
    let used = FIXED_BYTES + status.len() + digits(store) + digits(qty);
    let note = text(&mut rng, WORKLOAD_BYTES - used);
    [
        ("_id", Value::from(id.as_str())),
        ("customer", customer.as_str().into()),
        ("note", note.as_str().into()),
        ("qty", qty.into()),
        ("sku", sku.as_str().into()),
        ("status", status.into()),
        ("store", store.into()),
        ("ts", ts.into()),
    ]
    .map(|(name, value)| (name.into(), value))
    .into()
}

fn digits(n: u64) -> usize {
    n.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Words of lower-case letters: neither constant nor noise, so that compression gets what real notes would give it.
fn text(rng: &mut Rng, len: usize) -> String {
    const WORDS: [&str; 12] = [
        "deliver",
        "before",
        "noon",
        "call",
        "gate",
        "fragile",
        "leave",
        "with",
        "neighbour",
        "cold",
        "chain",
        "urgent",
    ];
    let mut text = String::with_capacity(len + 10);
    while text.len() < len {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(WORDS[rng.index(WORDS.len())]);
    }
    text.truncate(len);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ditto_types::json;

    use super::*;

    #[test]
    fn every_document_has_the_promised_shape_and_its_own_id() {
        let mut ids = BTreeSet::new();
        let mut statuses = BTreeSet::new();
        for index in 0..20_000 {
            let document = workload_document(index);
            assert_eq!(document.len(), 8);
            let number = |name: &str| document[name].as_i64().unwrap();
            assert!((0..1000).contains(&number("qty")) && (0..100).contains(&number("store")));
            let id = document["_id"].as_str().unwrap().to_owned();
            assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()));
            statuses.insert(document["status"].as_str().unwrap().to_owned());
            assert!(ids.insert(id), "document {index} has the id of another");
            assert_eq!(json::to_string(&Value::Object(document)).len(), WORKLOAD_BYTES);
        }
        assert_eq!(statuses.len(), WORKLOAD_STATUSES.len());
    }

    #[test]
    fn a_number_always_gives_the_same_document() {
        assert_eq!(workload_document(7), workload_document(7));
        let golden = json::to_string(&Value::Object(workload_document(0)));
        assert_eq!(golden, GOLDEN_0);
    }

    /// Figures of different releases compare only if the documents are the same.
    const GOLDEN_0: &str = concat!(
        r#"{"_id":"ae62304dad8320ee19005dde","customer":"c45492","#,
        r#""note":"urgent fragile fragile with cold before noon chain before with","#,
        r#""qty":89,"sku":"F608F2EB","status":"closed","store":86,"ts":1737398437391}"#,
    );
}
