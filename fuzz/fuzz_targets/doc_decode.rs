//! Documents from peers and files: refused, or their own canonical form.
#![no_main]

use ditto_crdt::{DictReader, DictWriter, Doc, DocView, decode, encode};
use ditto_types::{SiteId, SmolStr};
use libfuzzer_sys::fuzz_target;

struct Dict(Vec<SmolStr>);

impl DictReader for Dict {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.0.get(number as usize)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        (number < 8).then(|| SiteId { id: [number as u8; 16], incarnation: 0 })
    }
}

impl DictWriter for Dict {
    fn key_ref(&mut self, name: &str) -> u32 {
        self.0.iter().position(|n| n == name).map_or(u32::MAX, |n| n as u32)
    }

    fn site_ref(&mut self, site: &SiteId) -> u32 {
        site.id[0].into()
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(doc) = Doc::from_canonical(bytes) {
        assert_eq!(doc.canonical(), bytes);
        let mut twice = doc.clone();
        twice.merge(&doc);
        assert_eq!(twice, doc);
    }
    let mut dict = Dict((0..16).map(|i| SmolStr::from(format!("f{i:02}"))).collect());
    let view = DocView::new(bytes, &dict).and_then(|v| v.to_object());
    if let Ok(doc) = decode(bytes, &dict) {
        let object = doc.to_object();
        for name in &dict.0 {
            let path = [name.clone()];
            assert_eq!(doc.get(&path).as_ref(), object.get(name));
            let inside = DocView::new(bytes, &dict).and_then(|v| v.get(&path)).expect("readable in place");
            assert_eq!(inside.as_ref(), object.get(name));
        }
        assert_eq!(view.expect("readable in place"), object);
        assert_eq!(encode(&doc, &mut dict), bytes);
    }
});
