use std::io::{Read, Seek, SeekFrom};

use ditto_types::BLOB_CHUNK_BYTES;

use super::*;

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn id(bytes: &[u8]) -> BlobId {
    BlobId(*blake3::hash(bytes).as_bytes())
}

fn none() -> Result<HashSet<BlobId>, StoreError> {
    Ok(HashSet::new())
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn what_is_created_is_read_back_and_identical_content_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("b")).unwrap();
    for len in [0, 1, BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES + 1, 5 * BLOB_CHUNK_BYTES + 77] {
        let bytes = content(len);
        let blob = blobs.create_from_bytes(&bytes).unwrap();
        assert_eq!((blob.id(), blob.len(), blob.data().unwrap()), (id(&bytes), len as u64, bytes.clone()));
        let source = dir.path().join("source");
        std::fs::write(&source, &bytes).unwrap();
        let count = files(&dir.path().join("b"));
        assert_eq!(blobs.create_from_path(&source).unwrap().path(), blob.path());
        assert_eq!(blobs.create_from_reader(&bytes[..]).unwrap().id(), blob.id());
        assert_eq!(files(&dir.path().join("b")), count);
        blob.verify().unwrap();
    }
    assert_eq!(blobs.usage().unwrap().blobs, 5);
    assert!(blobs.usage().unwrap().bytes >= 6 * BLOB_CHUNK_BYTES as u64);
}

#[test]
fn a_stream_that_fails_leaves_nothing() {
    struct Fails(usize);
    impl Read for Fails {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| std::io::Error::other("gone"))?;
            Ok(out.len().min(100_000))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("b")).unwrap();
    assert!(matches!(blobs.create_from_reader(Fails(9)), Err(StoreError::Io { action: "read", .. })));
    let missing = blobs.create_from_path(&dir.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind().code(), "io/not-found");
    assert!(blobs.create_from_path(dir.path()).is_err());
    assert_eq!((files(&dir.path().join("b")), blobs.usage().unwrap()), (0, BlobUsage::default()));
}

#[test]
fn readers_seek_and_copies_replace_whole_files() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("b")).unwrap();
    let bytes = content(300_000);
    let blob = blobs.create_from_bytes(&bytes).unwrap();
    let mut reader = blob.open().unwrap();
    reader.seek(SeekFrom::End(-10)).unwrap();
    let mut tail = Vec::new();
    reader.read_to_end(&mut tail).unwrap();
    assert_eq!(tail, &bytes[299_990..]);
    let to = dir.path().join("copy");
    std::fs::write(&to, "before").unwrap();
    blob.copy_to_path(&to).unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    let nowhere = blob.copy_to_path(&dir.path().join("no/copy")).unwrap_err();
    assert_eq!(nowhere.kind().code(), "io/not-found");
    assert!(blob.copy_to_path(dir.path()).is_err());
    // The folder of the blobs and the copy; nothing unfinished.
    assert_eq!(files(dir.path()), 2);
}

#[test]
fn chunks_in_any_order_make_the_blob_and_wrong_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = Blobs::open(dir.path().join("from")).unwrap();
    let bytes = content(6 * BLOB_CHUNK_BYTES + 5);
    let blob = from.create_from_bytes(&bytes).unwrap();
    let to = Blobs::open(dir.path().join("to")).unwrap();
    let partial = to.partial(blob.id(), blob.len()).unwrap();
    let chunk = |i| from.chunk(blob.id(), blob.len(), i).unwrap().unwrap();
    let mut wrong = chunk(3);
    wrong.bytes[9] ^= 1;
    assert!(matches!(partial.put(3, &wrong), Ok(Received::Refused)));
    assert!(matches!(partial.put(2, &chunk(3)), Ok(Received::Refused)));
    assert_eq!((partial.missing().unwrap(), partial.has(3).unwrap()), (7, false));
    for (n, i) in [6, 0, 3, 2, 5, 1].into_iter().enumerate() {
        assert!(matches!(partial.put(i, &chunk(i)), Ok(Received::Kept)));
        assert!(matches!(partial.put(i, &chunk(i)), Ok(Received::Kept)));
        assert_eq!(partial.missing().unwrap(), 6 - n as u64);
        // What has arrived is proven to others.
        assert_eq!(to.chunk(blob.id(), blob.len(), i).unwrap(), Some(chunk(i)));
    }
    assert_eq!(partial.arrived().unwrap(), blob.len() - BLOB_CHUNK_BYTES as u64);
    assert!(to.chunk(blob.id(), blob.len(), 4).unwrap().is_none());
    let holding = |blobs: &Blobs| blobs.holding(blob.id(), blob.len()).unwrap();
    assert_eq!(
        (partial.bits().unwrap(), holding(&to)),
        (vec![0b110_1111], BlobHolding::Partial(vec![0b110_1111]))
    );
    assert_eq!(
        (holding(&from), to.holding(id(b"x"), 1).unwrap()),
        (BlobHolding::Whole, BlobHolding::Nothing)
    );
    assert!(to.get(blob.id(), blob.len()).is_none());
    let Received::Complete(whole) = partial.put(4, &chunk(4)).unwrap() else { panic!() };
    assert_eq!(whole.data().unwrap(), bytes);
    whole.verify().unwrap();
    assert_eq!((partial.bits().unwrap(), holding(&to)), (vec![0b111_1111], BlobHolding::Whole));
    assert_eq!((partial.missing().unwrap(), partial.arrived().unwrap()), (0, blob.len()));
    assert_eq!(files(&dir.path().join("to")), 2);
}

#[test]
fn what_arrived_survives_and_what_was_damaged_meanwhile_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let from = Blobs::open(dir.path().join("from")).unwrap();
    let blob = from.create_from_bytes(&content(4 * BLOB_CHUNK_BYTES)).unwrap();
    let chunk = |i| from.chunk(blob.id(), blob.len(), i).unwrap().unwrap();
    let directory = dir.path().join("to");
    let to = Blobs::open(directory.clone()).unwrap();
    let partial = to.partial(blob.id(), blob.len()).unwrap();
    for i in [0, 2] {
        partial.put(i, &chunk(i)).unwrap();
    }
    drop((partial, to));
    let to = Blobs::open(directory.clone()).unwrap();
    assert_eq!(to.usage().unwrap().partial, 1);
    let partial = to.partial(blob.id(), blob.len()).unwrap();
    assert!([0, 2].into_iter().all(|i| partial.has(i).unwrap()));
    assert_eq!(partial.missing().unwrap(), 2);
    drop((partial, to));
    // As after a power cut: noted, but not there.
    let name = Name { id: blob.id(), len: blob.len() };
    std::fs::write(name.path(&directory, Kind::Part), vec![0; 2 * BLOB_CHUNK_BYTES]).unwrap();
    let to = Blobs::open(directory).unwrap();
    let partial = to.partial(blob.id(), blob.len()).unwrap();
    assert_eq!(partial.missing().unwrap(), 4);
    for i in 0..4 {
        partial.put(i, &chunk(i)).unwrap();
    }
    assert_eq!(partial.complete().unwrap().unwrap().data().unwrap(), blob.data().unwrap());
}

#[test]
fn the_collector_spares_what_is_held_referenced_or_new() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("b")).unwrap();
    let held = blobs.create_from_bytes(b"held").unwrap();
    let used = blobs.create_from_bytes(b"used").unwrap().id();
    drop(blobs.create_from_bytes(b"left").unwrap());
    let collect = || blobs.collect(|| Ok(HashSet::from([used]))).unwrap();
    assert_eq!((collect().deleted, collect().deleted, collect().deleted), (0, 1, 0));
    assert!(blobs.get(id(b"left"), 4).is_none());
    assert!(blobs.get(used, 4).is_some());
    drop(held);
    // One that was asked for between two runs begins anew.
    collect();
    drop(blobs.get(id(b"held"), 4).unwrap());
    assert_eq!((collect().deleted, collect().deleted), (0, 1));
    blobs.collect(none).unwrap();
    assert_eq!(blobs.collect(none).unwrap().deleted, 1);
    assert_eq!((files(&dir.path().join("b")), blobs.usage().unwrap()), (0, BlobUsage::default()));
}

#[test]
fn hostile_lengths_take_no_memory_and_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("b")).unwrap();
    let too_much = blobs.partial(BlobId([1; 32]), MAX_BLOB_BYTES + 1).unwrap_err();
    assert_eq!(too_much.kind().code(), "validation/size-limit-exceeded");
    let partial = blobs.partial(BlobId([1; 32]), MAX_BLOB_BYTES).unwrap();
    let chunk = ProvenChunk { proof: vec![[0; 32]; 22], bytes: vec![0; BLOB_CHUNK_BYTES] };
    assert!(matches!(partial.put(0, &chunk), Ok(Received::Refused)));
    assert!(matches!(partial.put(u64::MAX, &chunk), Ok(Received::Refused)));
    assert_eq!(blobs.usage().unwrap().bytes, 0);
}

#[test]
fn living_documents_keep_their_blobs_and_the_check_reads_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        crate::StoreOptions::new(dir.path(), "0d9e4f3a-5f0c-4b1e-9f5e-1c2d3e4f5a6b".parse().unwrap());
    let store = crate::Store::open(options).unwrap();
    let run = |text: &str| store.execute(text, &Default::default()).map(|_| ()).unwrap();
    let blob = store.blobs().unwrap().create_from_bytes(b"kept").unwrap();
    let (id, path) = (blob.id(), blob.path());
    drop(blob);
    run(&format!(
        "INSERT INTO COLLECTION c (f ATTACHMENT) \
         DOCUMENTS ({{ '_id': 1, 'f': {{ 'id': '{id}', 'len': 4, 'metadata': {{}} }} }})"
    ));
    for _ in 0..3 {
        assert_eq!(store.collect_blobs().unwrap().deleted, 0);
    }
    let clean = store.check().unwrap();
    assert_eq!((clean.blobs, clean.problems), (1, vec![]));
    std::fs::write(&path, b"bent").unwrap();
    assert_eq!(store.check().unwrap().problem_count, 1);
    run("DELETE FROM c WHERE _id = 1");
    assert_eq!([store.collect_blobs().unwrap().deleted, store.collect_blobs().unwrap().deleted], [0, 1]);
    assert!(!path.exists() && store.blobs().unwrap().get(id, 4).is_none());
}
