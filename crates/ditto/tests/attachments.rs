//! Attachments: made, referred to by documents, fetched over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ditto::{
    AttachmentFetchEvent, AttachmentFetchOptions, AttachmentHolder, Ditto, DittoAttachment,
    DittoAttachmentFetcher, DittoAttachmentToken, ErrorKind,
};
use fixture::{DATABASE, Peer, connect, execute, listen, open, peer, sees, until};
use serde_json::json;

const MIB: usize = 1 << 20;

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = 2 * seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut out: Vec<u8> = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&next());
    }
    out.truncate(len);
    out
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

async fn attach(ditto: &Ditto, bytes: &[u8]) -> DittoAttachment {
    ditto.store().new_attachment_from_bytes(bytes, texts(&[("name", "x")])).await.unwrap()
}

/// A fetch and everything that its handler was told.
struct Fetch {
    fetcher: DittoAttachmentFetcher,
    events: Arc<Mutex<Vec<AttachmentFetchEvent>>>,
}

impl Fetch {
    fn begin(ditto: &Ditto, token: &DittoAttachmentToken) -> Self {
        Self::with(ditto, token, AttachmentFetchOptions::default())
    }

    fn with(ditto: &Ditto, token: &DittoAttachmentToken, options: AttachmentFetchOptions) -> Self {
        let events: Arc<Mutex<Vec<AttachmentFetchEvent>>> = Arc::default();
        let told = events.clone();
        let handler = move |event| told.lock().unwrap().push(event);
        let fetcher = ditto.store().fetch_attachment_with_options(token, options, handler).unwrap();
        Self { fetcher, events }
    }

    fn events(&self) -> Vec<AttachmentFetchEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Waits for the terminal event, and checks what came before it.
    async fn end(&self) -> AttachmentFetchEvent {
        until("the fetch ends", || self.events().last().is_some_and(AttachmentFetchEvent::is_terminal)).await;
        let events = self.events();
        let (last, before) = events.split_last().unwrap();
        let mut seen = 0;
        for event in before {
            match event {
                AttachmentFetchEvent::Progress { downloaded_bytes, total_bytes } => {
                    assert!((seen..=*total_bytes).contains(downloaded_bytes));
                    assert_eq!(*total_bytes, self.fetcher.total_bytes());
                    assert!((0.0..=1.0).contains(&event.progress().unwrap()));
                    seen = *downloaded_bytes;
                }
                other => panic!("{other:?} before the end"),
            }
        }
        assert!(self.fetcher.is_ended());
        last.clone()
    }

    async fn completed(&self) -> DittoAttachment {
        match self.end().await {
            AttachmentFetchEvent::Completed { attachment } => {
                assert!(self.fetcher.is_completed());
                assert_eq!(
                    (self.fetcher.progress(), self.fetcher.bytes_downloaded()),
                    (1.0, attachment.len())
                );
                attachment
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn close(peers: impl IntoIterator<Item = Peer>) {
    for p in peers {
        p.ditto.close().await.unwrap();
    }
}

/// The only file of the blobs with this ending.
fn blob_file(directory: &Path, ending: &str) -> std::path::PathBuf {
    let files = std::fs::read_dir(directory.join("attachments")).unwrap().map(|f| f.unwrap().path());
    let found: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == ending)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn api_315_317_to_330_an_attachment_from_a_file_bytes_and_a_stream() {
    let p = peer().await;
    let store = p.ditto.store();
    let files = tempfile::tempdir().unwrap();
    let bytes = content(1, 2 * MIB + 5);
    let path = files.path().join("photo.jpg");
    std::fs::write(&path, &bytes).unwrap();
    let metadata = texts(&[("name", "photo.jpg"), ("created_at", "2026-01-02T03:04:05Z")]);
    let a = store.new_attachment(&path, metadata.clone()).await.unwrap();
    // It is a copy.
    std::fs::remove_file(&path).unwrap();
    assert_eq!((a.len(), a.is_empty(), a.metadata()), (bytes.len() as u64, false, &metadata));
    assert_eq!((a.created_at(), a.updated_at()), (Some("2026-01-02T03:04:05Z"), None));
    assert_eq!(a.data().await.unwrap(), bytes);
    assert_eq!(std::fs::read(a.path()).unwrap(), bytes);
    let t = a.token();
    assert_eq!((t.id(), t.len(), t.metadata()), (a.id(), a.len(), &metadata));

    let b = store.new_attachment_from_bytes(bytes.clone(), BTreeMap::new()).await.unwrap();
    let c = store.new_attachment_from_reader(std::io::Cursor::new(bytes.clone()), metadata).await.unwrap();
    assert_eq!((b.id(), c.clone()), (a.id(), a.clone()));
    assert_ne!(a, b);
    // Kept once.
    blob_file(p.directory.path(), "data");

    let mut reader = a.open().unwrap();
    reader.seek(SeekFrom::Start(MIB as u64)).unwrap();
    let mut part = [0; 100];
    reader.read_exact(&mut part).unwrap();
    assert_eq!(part[..], bytes[MIB..MIB + 100]);
    assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), a.len());

    let copy = files.path().join("copy");
    std::fs::write(&copy, "old and shorter").unwrap();
    a.copy_to(&copy).await.unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);
    let e = a.copy_to(files.path().join("missing").join("copy")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::IoNotFound);
    assert_eq!(store.attachment(&t).unwrap(), Some(a));
    // The hash of nothing, as the test vectors of BLAKE3 have it.
    let nothing = store.new_attachment_from_bytes(vec![], BTreeMap::new()).await.unwrap();
    assert_eq!(nothing.id(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    close([p]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_315_what_cannot_be_attached_says_why() {
    let p = peer().await;
    let store = p.ditto.store();
    let files = tempfile::tempdir().unwrap();
    let e = store.new_attachment(files.path().join("no"), BTreeMap::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AttachmentFileNotFound);
    let e = store.new_attachment(files.path(), BTreeMap::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AttachmentCreateFailed);
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("broken"))
        }
    }
    let e = store.new_attachment_from_reader(Broken, BTreeMap::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AttachmentCreateFailed);
    assert!(std::fs::read_dir(p.directory.path().join("attachments")).unwrap().next().is_none());
    // What is no token.
    let e = store.fetch_attachment("{}", |_| {}).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AttachmentTokenInvalid);
    let ditto = p.ditto.clone();
    close([p]).await;
    let e = ditto.store().new_attachment_from_bytes(vec![1], BTreeMap::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Closed);
    let token = DittoAttachmentToken::new(&"0a".repeat(32), 1, BTreeMap::new()).unwrap();
    assert_eq!(ditto.store().fetch_attachment(&token, |_| {}).unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_316_340_to_363_a_document_brings_the_token_and_the_fetch_brings_the_content() {
    let (a, b) = (peer().await, peer().await);
    for len in [0, 1, 3 * MIB + 17] {
        let bytes = content(len as u64, len);
        let attachment = attach(&a.ditto, &bytes).await;
        let document = json!({ "_id": len, "photo": attachment.token() });
        let insert = "INSERT INTO cars DOCUMENTS (:d)";
        a.ditto.store().execute((insert, json!({ "d": document }))).await.unwrap();
    }
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    b.ditto.sync().register_subscription("SELECT * FROM cars").unwrap();
    let select = "SELECT photo FROM COLLECTION cars (photo ATTACHMENT) ORDER BY _id";
    fixture::rows(&b.ditto, "SELECT COUNT(*) AS n FROM cars", &[r#"{"n":3}"#]).await;
    let rows = b.ditto.store().execute(select).await.unwrap();
    for (row, len) in rows.items().zip([0, 1, 3 * MIB + 17]) {
        let value = row.value();
        let token = DittoAttachmentToken::try_from(value.get("photo").unwrap()).unwrap();
        assert_eq!((token.len(), token.metadata()), (len as u64, &texts(&[("name", "x")])));
        assert!(b.ditto.store().attachment(&token).unwrap().is_none());
        let fetch = Fetch::begin(&b.ditto, &token);
        let got = fetch.completed().await;
        assert_eq!(got.data().await.unwrap(), content(len as u64, len));
        assert_eq!((got.token(), fetch.fetcher.token()), (token.clone(), &token));
        // It is here now, and so is another fetch of it.
        assert_eq!(Fetch::begin(&b.ditto, &got.token()).completed().await, got);
    }
    assert!(b.ditto.store().attachment_fetchers().is_empty());
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_316_a_relay_carries_what_it_does_not_hold() {
    let (a, b, c) = (peer().await, peer().await, peer().await);
    let to_a = listen(&a.ditto).await;
    b.ditto
        .update_transport_config(|t| {
            t.enable_tcp_listen("127.0.0.1", 0);
            t.add_tcp_server(to_a.as_str());
        })
        .await
        .unwrap();
    b.ditto.sync().start().await.unwrap();
    let to_b = b.ditto.sync().listen_address().unwrap().to_string();
    connect(&c.ditto, &[&to_b]).await;
    until("both ends see each other", || sees(&a.ditto, &c.ditto) && sees(&c.ditto, &a.ditto)).await;
    let bytes = content(7, 2 * MIB);
    let token = attach(&a.ditto, &bytes).await.token();
    // Who has it?
    let holders = c.ditto.store().attachment_holders(&token, Duration::from_secs(2)).await.unwrap();
    assert_eq!(holders, [AttachmentHolder { peer: a.ditto.peer_key(), is_complete: true, hops: 2 }]);
    let got = Fetch::begin(&c.ditto, &token).completed().await;
    assert_eq!(got.data().await.unwrap(), bytes);
    assert!(!b.directory.path().join("attachments").exists());
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_source_is_refused_and_the_other_used() {
    let (a, b, c) = (peer().await, peer().await, peer().await);
    let bytes = content(9, 4 * MIB);
    let token = attach(&a.ditto, &bytes).await.token();
    let _kept = attach(&b.ditto, &bytes).await;
    let _too = a.ditto.store().attachment(&token).unwrap();
    // Every chunk of the first is wrong.
    let file = blob_file(a.directory.path(), "data");
    let wrong: Vec<u8> = bytes.iter().map(|b| !b).collect();
    std::fs::write(file, wrong).unwrap();
    let (to_a, to_b) = (listen(&a.ditto).await, listen(&b.ditto).await);
    connect(&c.ditto, &[&to_a, &to_b]).await;
    until("both sources are seen", || sees(&c.ditto, &a.ditto) && sees(&c.ditto, &b.ditto)).await;
    let got = Fetch::begin(&c.ditto, &token).completed().await;
    assert_eq!(got.data().await.unwrap(), bytes);
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_316_a_fetch_goes_on_after_a_disconnection_and_after_a_restart() {
    let (a, b) = (peer().await, peer().await);
    let bytes = content(11, 48 * MIB);
    let kept = attach(&a.ditto, &bytes).await;
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    let fetch = Fetch::begin(&b.ditto, &kept.token());
    until("some has come", || fetch.fetcher.bytes_downloaded() > 0).await;
    b.ditto.sync().stop().await.unwrap();
    let before = fetch.fetcher.bytes_downloaded();
    assert!(!fetch.fetcher.is_ended(), "the machine is too fast for this test");
    b.ditto.sync().start().await.unwrap();
    until("more has come", || fetch.fetcher.bytes_downloaded() > before).await;
    // Now the app ends in the middle.
    b.ditto.close().await.unwrap();
    assert!(matches!(fetch.end().await, AttachmentFetchEvent::Cancelled));
    let before = fetch.fetcher.bytes_downloaded();
    let ditto = open(&b.directory, DATABASE, None).await;
    let again = Fetch::begin(&ditto, &kept.token());
    until("what was there counts", || !again.events().is_empty()).await;
    match &again.events()[0] {
        AttachmentFetchEvent::Progress { downloaded_bytes, .. } => assert!(*downloaded_bytes >= before),
        other => panic!("{other:?}"),
    }
    connect(&ditto, &[&address]).await;
    assert_eq!(again.completed().await.data().await.unwrap(), bytes);
    ditto.close().await.unwrap();
    close([a]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_343_356_359_360_cancelled_timed_out_gone_and_closed() {
    let (a, b) = (peer().await, peer().await);
    let token = DittoAttachmentToken::new(&"0a".repeat(32), 5, BTreeMap::new()).unwrap();
    let fetch = Fetch::begin(&b.ditto, &token);
    assert_eq!(b.ditto.store().attachment_fetchers().len(), 1);
    assert_eq!((fetch.fetcher.progress(), fetch.fetcher.is_completed()), (0.0, false));
    fetch.fetcher.cancel();
    fetch.fetcher.cancel();
    assert!(matches!(fetch.end().await, AttachmentFetchEvent::Cancelled));
    assert!(!fetch.fetcher.is_completed());
    assert!(b.ditto.store().attachment_fetchers().is_empty());
    // Nobody is there: time alone ends it.
    let timeout = AttachmentFetchOptions { timeout: Some(Duration::from_millis(50)), ..Default::default() };
    match Fetch::with(&b.ditto, &token, timeout).end().await {
        AttachmentFetchEvent::Failed { error } => {
            assert_eq!(error.kind(), ErrorKind::AttachmentFetchFailed);
        }
        other => panic!("{other:?}"),
    }
    // Somebody is there and has not got it.
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    until("they see each other", || sees(&b.ditto, &a.ditto)).await;
    let gone = AttachmentFetchOptions { unavailable_after: Some(Duration::ZERO), ..Default::default() };
    assert!(matches!(Fetch::with(&b.ditto, &token, gone).end().await, AttachmentFetchEvent::Deleted));
    let fetch = Fetch::begin(&b.ditto, &token);
    b.ditto.close().await.unwrap();
    assert!(matches!(fetch.end().await, AttachmentFetchEvent::Cancelled));
    close([a]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_378_what_nobody_needs_is_deleted() {
    let p = peer().await;
    let store = p.ditto.store();
    let used = attach(&p.ditto, &content(1, MIB)).await.token();
    let held = attach(&p.ditto, &content(2, MIB)).await;
    let unused = attach(&p.ditto, &content(3, MIB)).await.token();
    let insert = "INSERT INTO c DOCUMENTS ({'_id': 1, 'f': {'g': [], 'h': :t}})";
    store.execute((insert, json!({ "t": used }))).await.unwrap();
    assert_eq!(store.collect_attachments().await.unwrap(), 0);
    assert_eq!(store.collect_attachments().await.unwrap(), 1);
    assert!(store.attachment(&unused).unwrap().is_none());
    assert!(store.attachment(&used).unwrap().is_some());
    execute(&p.ditto, "DELETE FROM c WHERE _id = 1").await;
    for _ in 0..2 {
        store.collect_attachments().await.unwrap();
    }
    assert!(store.attachment(&used).unwrap().is_none());
    assert_eq!(held.data().await.unwrap(), content(2, MIB));
    close([p]).await;
}

/// dql.md 3.3 to 3.5: what makes a field an attachment, and what does not.
#[tokio::test(flavor = "multi_thread")]
async fn api_340_tokens_in_arguments_are_attachments() {
    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Car {
        _id: i64,
        photo: DittoAttachmentToken,
    }
    let p = peer().await;
    let store = p.ditto.store();
    let token = attach(&p.ditto, &content(1, 100)).await.token();
    let other = DittoAttachmentToken::new(&"0a".repeat(32), 1, BTreeMap::new()).unwrap();
    let is_attachment = async |field: &str, id: i64| {
        let select = format!(
            "SELECT photo FROM COLLECTION cars ({field} ATTACHMENT) WHERE _id = :id AND {field} IS NOT MISSING"
        );
        store.execute((select, json!({ "id": id }))).await.unwrap().item_count() == 1
    };
    // In a typed document, in an object of the statement, assigned, in an array of documents.
    let car = Car { _id: 1, photo: token.clone() };
    store.execute(("INSERT INTO cars DOCUMENTS (:car)", BTreeMap::from([("car", &car)]))).await.unwrap();
    let insert = "INSERT INTO cars DOCUMENTS ({'_id': 2, 'photo': :t})";
    store.execute((insert, json!({ "t": token }))).await.unwrap();
    store.execute("INSERT INTO cars DOCUMENTS ({'_id': 3})").await.unwrap();
    store.execute(("UPDATE cars SET photo = :t WHERE _id = 3", json!({ "t": token }))).await.unwrap();
    let many = json!({ "cars": [{ "_id": 4, "photo": token }] });
    store.execute(("INSERT INTO cars DOCUMENTS (:cars)", many)).await.unwrap();
    for id in 1..=4 {
        assert!(is_attachment("photo", id).await, "{id}");
    }
    // Items give it back, by value and typed.
    let rows = store.execute("SELECT * FROM cars WHERE _id = 1").await.unwrap();
    let shown = rows.values().remove(0);
    assert_eq!(DittoAttachmentToken::try_from(shown.get("photo").unwrap()).unwrap(), token);
    assert_eq!(rows.deserialize_all::<Car>().unwrap(), [car]);
    // It is a value like others in conditions, and declarations still count.
    let find = ("SELECT _id FROM cars WHERE photo = :t", json!({ "t": token }));
    assert_eq!(store.execute(find).await.unwrap().item_count(), 4);
    let declared = "INSERT INTO COLLECTION cars (photo ATTACHMENT) DOCUMENTS ({'_id': 5, 'photo': :t})";
    store.execute((declared, json!({ "t": token }))).await.unwrap();
    let register = "INSERT INTO COLLECTION cars (photo REGISTER) DOCUMENTS ({'_id': 6, 'photo': :t})";
    store.execute((register, json!({ "t": token }))).await.unwrap();
    assert!(is_attachment("photo", 5).await && !is_attachment("photo", 6).await);
    // A token is replaced by another, and goes with UNSET.
    store.execute(("UPDATE cars SET photo = :t WHERE _id = 2", json!({ "t": other }))).await.unwrap();
    let rows = store.execute("SELECT photo FROM cars WHERE _id = 2").await.unwrap();
    let now = rows.values().remove(0);
    assert_eq!(DittoAttachmentToken::try_from(now.get("photo").unwrap()).unwrap(), other);
    store.execute("UPDATE cars UNSET photo WHERE _id = 3").await.unwrap();
    assert!(!is_attachment("photo", 3).await);
    // Nothing to write when the same token is there.
    let again = "INSERT INTO cars DOCUMENTS ({'_id': 4, 'photo': :t}) ON ID CONFLICT DO UPDATE_LOCAL_DIFF";
    let again = store.execute((again, json!({ "t": token }))).await.unwrap();
    assert!(again.mutated_document_ids().is_empty());
    // A document that is copied by its values has a map, as has one that is copied by a statement.
    let mut copy = shown.as_object().unwrap().clone();
    copy.insert("_id".into(), 7.into());
    store
        .execute((
            "INSERT INTO cars DOCUMENTS (:c)",
            BTreeMap::from([("c", ditto::types::Value::Object(copy))]),
        ))
        .await
        .unwrap();
    store.execute("INSERT INTO cars SELECT 8 AS _id, photo FROM cars WHERE _id = 1").await.unwrap();
    assert!(!is_attachment("photo", 7).await && !is_attachment("photo", 8).await);
    // What is marked and no token is an error, and nothing is written.
    let bad = store.execute((insert, json!({ "t": { "$attachment": { "id": "x", "len": 1 } } }))).await;
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::AttachmentTokenInvalid);
    let bad = store.execute((declared, json!({ "t": { "id": "x", "len": 1, "metadata": {} } }))).await;
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::QueryEvaluation);
    // Strict mode takes nothing for what is not declared.
    store.execute("ALTER SYSTEM SET dql_strict_mode = true").await.unwrap();
    let strict = "INSERT INTO cars DOCUMENTS ({'_id': 9, 'photo': :t})";
    store.execute((strict, json!({ "t": token }))).await.unwrap();
    assert!(!is_attachment("photo", 9).await);
    close([p]).await;
}
