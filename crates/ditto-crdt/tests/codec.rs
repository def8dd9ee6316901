//! The encoding: golden bytes, size budget, hostile input.

#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_crdt::{
    AttachmentToken, CanonicalDoc, DecodeError, DictReader, Doc, DocView, FieldKind, Numbers, Op, decode,
    encode, encode_fresh, recode,
};
use ditto_types::{Hlc, Object, Path, SiteId, SmolStr, Stamp, Value, json};
use proptest::prelude::*;

fn site(n: u8) -> SiteId {
    SiteId { id: [n; 16], incarnation: u32::from(n) }
}

fn at(ms: u64, n: u8) -> Stamp {
    Stamp::new(Hlc::from_ms(ms), site(n))
}

fn fields(text: &str) -> Object {
    json::from_str(text).unwrap().as_object().unwrap().clone()
}

/// Names are `f0`, `f1`, … `f63`, then those of the golden documents; any site number below 4 is known, and 0 is the beginning of
/// time.
struct Dict {
    names: Vec<SmolStr>,
}

impl Dict {
    fn new() -> Self {
        let named = ["a", "b", "c", "d", "n", "m", "p", "r", "file"].map(SmolStr::new_static);
        Self { names: (0..64).map(|i| format!("f{i}").into()).chain(named).collect() }
    }
}

impl DictReader for Dict {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.names.get(number as usize)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        (number < 4).then(|| site(number as u8))
    }
}

impl ditto_crdt::DictWriter for Dict {
    fn key_ref(&mut self, name: &str) -> u32 {
        self.names.iter().position(|n| n == name).unwrap() as u32
    }

    fn site_ref(&mut self, s: &SiteId) -> u32 {
        (0..4).find(|n| site(*n as u8) == *s).unwrap()
    }
}

/// T1.7: metadata of a fresh document of 8 fields, without the offset table, is at most 16 bytes. Names and values are
/// data: a tag and a one-byte number a field stand for the name.
#[test]
fn a_fresh_document_costs_few_bytes() {
    let text = r#"{"f0":1,"f1":2,"f2":3,"f3":4,"f4":5,"f5":6,"f6":7,"f7":8}"#;
    let doc = Doc::fresh(&fields(text), at(1_700_000_000_000, 1));
    let bytes = encode(&doc, &mut Dict::new()).len();
    let (offsets, tags_and_names, values) = (8 * 2, 8 * 2, 8 * 2);
    let metadata = bytes - offsets - tags_and_names - values;
    assert_eq!(metadata, 13, "format, flags, sites, base time and count");
}

/// Hexadecimal; the run of `x` that makes offsets wide stands as `(78*66000)`.
fn in_hex(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    hex.replace(&"78".repeat(66_000), "(78*66000)")
}

/// T1.3: these bytes are on disks and on wires. A change of them is a new format version.
#[test]
fn golden_vectors() {
    if std::env::var_os("DITTO_WRITE_GOLDEN").is_some() {
        write_golden();
    }
    let file = std::fs::read_to_string("tests/golden/documents.json").unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&file).unwrap();
    let docs = golden_documents();
    assert_eq!(cases.len(), docs.len());
    for (case, (name, doc)) in cases.iter().zip(docs) {
        assert_eq!(case["name"], name);
        let hex = in_hex(&doc.canonical());
        assert_eq!(case["canonical"], hex, "{name}");
        let bytes = encode(&doc, &mut Dict::new());
        assert_eq!(case["dictionary"], in_hex(&bytes), "{name}");
        assert_eq!(decode(&bytes, &Dict::new()).unwrap(), doc, "{name}");
        carried_over(&bytes);
        let visible = case["visible"].to_string().replace("(x*66000)", &"x".repeat(66_000));
        let visible: Object = fields(&visible);
        assert_eq!(doc.to_object(), visible, "{name}");
        assert_eq!(Doc::from_canonical(&doc.canonical()).unwrap(), doc);
    }
}

/// Numbers the other way round than [`Dict`].
struct Mirror(Dict);

impl ditto_crdt::DictWriter for Mirror {
    fn key_ref(&mut self, name: &str) -> u32 {
        72 - self.0.key_ref(name)
    }

    fn site_ref(&mut self, s: &SiteId) -> u32 {
        3 - self.0.site_ref(s)
    }
}

impl DictReader for Mirror {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.0.key(72_u32.checked_sub(number)?)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        self.0.site(3_u32.checked_sub(number)?)
    }
}

/// Whatever the bytes are: carrying them over gives what building the document and encoding it again gives.
fn carried_over(bytes: &[u8]) {
    let built = decode(bytes, &Dict::new());
    let kept = CanonicalDoc::read(bytes, &Dict::new());
    let other = recode(bytes, &Dict::new(), &mut Mirror(Dict::new()), &mut Numbers::default());
    let (Ok(doc), Ok(kept), Ok(other)) = (&built, &kept, &other) else {
        assert_eq!(built.as_ref().err(), kept.as_ref().err());
        assert_eq!(built.err(), other.err());
        return;
    };
    assert_eq!(kept.bytes(), doc.canonical());
    assert_eq!((kept.is_alive(), kept.max_hlc()), (doc.is_alive(), doc.max_hlc()));
    assert_eq!(kept, &CanonicalDoc::from(doc));
    assert_eq!(&kept.to_doc().unwrap(), doc);
    assert_eq!(other, &encode(doc, &mut Mirror(Dict::new())));
    let mut back = b"kept".to_vec();
    kept.encode(&mut Dict::new(), &mut back).unwrap();
    assert_eq!(&back[4..], bytes);
    // And back, with the numbers of the first pass at hand.
    let mut numbers = Numbers::default();
    for _ in 0..2 {
        let from = Mirror(Dict::new());
        assert_eq!(recode(other, &from, &mut Dict::new(), &mut numbers).unwrap(), bytes);
    }
}

fn golden_documents() -> Vec<(&'static str, Doc)> {
    let fresh = Doc::fresh(&fields(r#"{"a":1,"b":{"c":"x","d":[1,2.5,null]}}"#), at(1_700_000_000_000, 1));
    let apply = |doc: &Doc, ops: &[(Op, Stamp)]| {
        let mut doc = doc.clone();
        ops.iter().for_each(|(op, stamp)| doc.apply(op, *stamp).unwrap());
        doc
    };
    let path = |p: &[&str]| Path::new(p.iter().copied());
    let set = |p: &[&str], v: &str, kind| Op::Set { path: path(p), value: json::from_str(v).unwrap(), kind };
    let changed = apply(
        &fresh,
        &[
            (set(&["a"], "2", FieldKind::Inferred), at(1_700_000_000_500, 2)),
            (set(&["b", "c"], "\"y\"", FieldKind::Inferred), at(1_700_000_000_500, 2)),
            (Op::Increment { path: path(&["n"]), by: 5 }, at(1_700_000_001_000, 1)),
            (Op::Restart { path: path(&["m"]), to: 100 }, at(1_700_000_002_000, 1)),
            (Op::Increment { path: path(&["m"]), by: -3 }, at(1_700_000_003_000, 2)),
            (Op::PnIncrement { path: path(&["p"]), by: 1.5 }, at(1_700_000_004_000, 3)),
        ],
    );
    let removed = apply(&changed, &[(Op::Unset { path: path(&["b"]) }, at(1_700_000_005_000, 1))]);
    let deleted = apply(&changed, &[(Op::Delete, at(1_700_000_006_000, 2))]);
    let register = apply(
        &Doc::default(),
        &[(Op::Create, Stamp::ZERO), (set(&["r"], r#"{"k":true}"#, FieldKind::Register), Stamp::ZERO)],
    );
    let token = AttachmentToken {
        hash: [0xab; 32],
        len: 300,
        metadata: [("name".into(), "a.png".into()), ("type".into(), "image/png".into())].into(),
    };
    let token = Op::Set { path: path(&["file"]), value: token.to_value(), kind: FieldKind::Attachment };
    let attachment = apply(&fresh, &[(token, at(1_700_000_000_700, 2))]);
    let inc = |by, ms: u64| (Op::Increment { path: path(&["n"]), by }, at(1_700_000_000_000 + ms, 1));
    let total = apply(&fresh, &[inc(i64::MAX, 1), inc(i64::MAX, 2), inc(5, 3)]);
    let mut total = total;
    let down = |ms: u64| (Op::Increment { path: path(&["m"]), by: i64::MIN }, at(1_700_000_000_000 + ms, 2));
    total = apply(&total, &[down(4), down(5)]);
    let then = at(1_700_000_008_000, 1);
    let again = apply(
        &changed,
        &[(Op::Delete, then), (Op::Create, then), (set(&["a"], "7", FieldKind::Inferred), then)],
    );
    let unset = |p: &[&str], kind| Op::UnsetKind { path: path(p), kind };
    let hidden = set(&["n"], "7", FieldKind::Register);
    let of_kinds = apply(
        &changed,
        &[
            (hidden, at(1_700_000_007_000, 2)),
            (unset(&["n"], FieldKind::Counter), at(1_700_000_009_000, 1)),
            (unset(&["b"], FieldKind::Map), at(1_700_000_009_000, 1)),
            (set(&["b", "d"], "3", FieldKind::Inferred), at(1_700_000_010_000, 1)),
            (unset(&["a"], FieldKind::Register), at(1_700_000_010_000, 1)),
        ],
    );
    // A value that pushes the second entry of its map past 65,535 bytes.
    let long = format!("{:?}", "x".repeat(66_000));
    let wide = fields(&format!(r#"{{"a":1,"b":{{"c":{long},"d":2}}}}"#));
    let wide = Doc::fresh(&wide, at(1_700_000_000_000, 1));
    vec![
        ("empty", Doc::default()),
        ("fresh", fresh),
        ("changed", changed),
        ("removed", removed),
        ("deleted", deleted),
        ("initial register", register),
        ("attachment", attachment),
        ("totals beyond 64 bits", total),
        ("insert after delete in one transaction", again),
        ("wide offsets", wide),
        ("removals of one kind", of_kinds),
    ]
}

/// After a deliberate change of the format: `DITTO_WRITE_GOLDEN=1 cargo test -p ditto-crdt golden`.
fn write_golden() {
    let cases: Vec<_> = golden_documents()
        .into_iter()
        .map(|(name, doc)| {
            let hex = in_hex(&doc.canonical());
            let visible = json::to_string(&doc.to_object().into());
            let visible = visible.replace(&"x".repeat(66_000), "(x*66000)");
            serde_json::json!({
                "name": name,
                "visible": serde_json::from_str::<serde_json::Value>(&visible).unwrap(),
                "canonical": hex,
                "dictionary": in_hex(&encode(&doc, &mut Dict::new())),
            })
        })
        .collect();
    std::fs::write("tests/golden/documents.json", serde_json::to_string_pretty(&cases).unwrap() + "\n")
        .unwrap();
}

#[test]
fn every_truncation_and_many_flips_are_refused_or_mean_themselves() {
    for (name, doc) in golden_documents() {
        let bytes = doc.canonical();
        if bytes.len() > 10_000 {
            continue;
        }
        for n in 0..bytes.len() {
            assert!(Doc::from_canonical(&bytes[..n]).is_err(), "{name} cut at {n}");
        }
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[i] ^= 1 << bit;
                if let Ok(other) = Doc::from_canonical(&flipped) {
                    assert_eq!(other.canonical(), flipped, "{name} bit {bit} of byte {i}");
                }
            }
        }
    }
    assert_eq!(Doc::from_canonical(&[9, 0]), Err(DecodeError::Format(9)));
}

#[test]
fn what_is_carried_over_is_checked_like_what_is_built() {
    for (_, doc) in golden_documents() {
        let bytes = encode(&doc, &mut Dict::new());
        if bytes.len() > 10_000 {
            continue;
        }
        (0..bytes.len()).for_each(|n| carried_over(&bytes[..n]));
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[i] ^= 1 << bit;
                carried_over(&flipped);
            }
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let names = vec!["f0"; 64];
    let op = Op::Set { path: Path::new(names), value: 1.into(), kind: FieldKind::Inferred };
    assert!(Doc::default().apply(&op, at(1, 1)).is_err());
    // A hand-made chain of nodes deeper than any document.
    let mut node = vec![2, 0, 0, 0, 0, 0];
    for _ in 0..100 {
        let mut outer = vec![2, 0, 0, 7, 0];
        ditto_types::wire::put_bytes(&mut outer, &node);
        node = outer;
    }
    let mut bytes = vec![1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(node);
    assert!(decode(&bytes, &Dict::new()).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), plain: bool) {
        if plain && bytes.len() > 3 {
            // Past the first checks more often than chance would.
            bytes[..3].copy_from_slice(&[1, 0, 1]);
        }
        if let Ok(doc) = Doc::from_canonical(&bytes) {
            prop_assert_eq!(doc.canonical(), bytes.clone());
        }
        let dict = Dict::new();
        if let Ok(doc) = decode(&bytes, &dict) {
            prop_assert_eq!(encode(&doc, &mut Dict::new()), bytes.clone());
        }
        carried_over(&bytes);
        if let Ok(view) = DocView::new(&bytes, &dict) {
            let object = view.to_object();
            let mut told = String::new();
            let id = ditto_types::codec::to_vec(&1.into());
            if let Ok(true) = view.visit(&id, &mut ditto_types::json::JsonText::new(&mut told)) {
                let mut object = object.unwrap();
                object.insert("_id".into(), 1.into());
                prop_assert_eq!(told, ditto_types::json::to_string(&object.into()));
            }
            let _ = view.get(&["f0".into(), "f1".into()]);
        }
    }
}

/// A number for every name and site that is asked about.
#[derive(Default)]
struct Growing(Vec<SmolStr>, Vec<SiteId>);

fn number_of<T: PartialEq>(all: &mut Vec<T>, one: T) -> u32 {
    let at = all.iter().position(|known| *known == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    });
    at as u32
}

impl DictReader for Growing {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.0.get(number as usize)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        self.1.get(number as usize).copied()
    }
}

impl ditto_crdt::DictWriter for Growing {
    fn key_ref(&mut self, name: &str) -> u32 {
        number_of(&mut self.0, name.into())
    }

    fn site_ref(&mut self, s: &SiteId) -> u32 {
        number_of(&mut self.1, *s)
    }
}

#[test]
fn documents_of_any_number_of_sites_are_carried_over() {
    for n in [1, 2, 62, 63, 64, 65, 66, 130u8] {
        let mut doc = Doc::fresh(&Object::new(), at(1_700_000_000_000, 0));
        for i in 1..n {
            let path = Path::new([SmolStr::new(format!("f{i}"))]);
            let op = Op::Set { path, value: i64::from(i).into(), kind: FieldKind::Inferred };
            doc.apply(&op, at(1_700_000_000_000 + u64::from(i), i)).unwrap();
        }
        let mut dict = Growing::default();
        let bytes = encode(&doc, &mut dict);
        assert_eq!(dict.1.len(), usize::from(n));
        let kept = CanonicalDoc::read(&bytes, &dict).unwrap();
        assert_eq!(kept.bytes(), doc.canonical(), "{n}");
        let mut again = Vec::new();
        kept.encode(&mut dict, &mut again).unwrap();
        assert_eq!(again, bytes, "{n}");
        assert_eq!(kept.to_doc().unwrap(), doc);
    }
}

/// Objects, also empty and nested ones, with texts so long that lengths and offsets get wide.
fn any_fields() -> impl Strategy<Value = Object> {
    let name = || (0..12u8).prop_map(|n| if n == 11 { "_id".into() } else { SmolStr::new(format!("f{n}")) });
    let text = prop_oneof![8 => 0..200usize, 1 => 30_000..70_000usize].prop_map(|n| "x".repeat(n).into());
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        text.prop_map(Value::Str),
    ];
    let value = leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(name(), inner, 0..8).prop_map(Value::Object),
        ]
    });
    let name = (0..12u8).prop_map(|n| if n == 11 { "_id".into() } else { SmolStr::new(format!("f{n}")) });
    prop::collection::btree_map(name, value, 0..12)
}

/// As [`Dict`], and knows `_id`, which is a name like any other below the root, and the site of time zero.
struct All;

impl DictReader for All {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        static ID: SmolStr = SmolStr::new_static("_id");
        static NAMES: std::sync::LazyLock<Dict> = std::sync::LazyLock::new(Dict::new);
        if number == 99 { Some(&ID) } else { NAMES.key(number) }
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        if number == 0 { Some(SiteId::ZERO) } else { Dict::new().site(number) }
    }
}

impl ditto_crdt::DictWriter for All {
    fn key_ref(&mut self, name: &str) -> u32 {
        if name == "_id" { 99 } else { Dict::new().key_ref(name) }
    }

    fn site_ref(&mut self, s: &SiteId) -> u32 {
        if *s == SiteId::ZERO { 0 } else { Dict::new().site_ref(s) }
    }
}

proptest! {
    #[test]
    fn a_fresh_document_is_encoded_as_if_it_had_been_built(fields in any_fields(), zero: bool) {
        let stamp = if zero { Stamp::ZERO } else { at(1_700_000_000_000, 2) };
        let doc = Doc::fresh(&fields, stamp);
        let (mut stored, mut canonical) = (b"kept".to_vec(), Vec::new());
        encode_fresh(&fields, stamp, &mut All, &mut stored, &mut canonical);
        prop_assert_eq!(&stored[4..], encode(&doc, &mut All));
        let kept = CanonicalDoc::read(&stored[4..], &All).unwrap();
        prop_assert_eq!(kept.bytes(), &canonical);
        let mut again = Vec::new();
        kept.encode(&mut All, &mut again).unwrap();
        prop_assert_eq!(&again, &stored[4..]);
        prop_assert_eq!(&canonical, &doc.canonical());
        prop_assert_eq!(Doc::from_canonical(&canonical).unwrap(), doc);
    }
}
