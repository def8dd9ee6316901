//! Attachments as another language uses them: sources and handlers that the app implements.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ditto_uniffi::attachment::{
    AttachmentFetchEvent, AttachmentFetchHandler, AttachmentFetchOptions, AttachmentSource, AttachmentToken,
    attachment_token_from_bytes, attachment_token_from_json, attachment_token_to_bytes,
    attachment_token_to_json,
};
use ditto_uniffi::config::{DittoConfig, DittoConfigConnect, Durability};
use ditto_uniffi::error::DittoError;
use ditto_uniffi::instance::Ditto;

const PATIENCE: Duration = Duration::from_secs(20);

fn open() -> (tempfile::TempDir, Arc<Ditto>) {
    let dir = tempfile::tempdir().unwrap();
    let config = DittoConfig {
        database_id: "6f1d1c9e-2f4b-4c39-a9f0-8c3d7c2f5a12".into(),
        connect: DittoConfigConnect::SmallPeersOnly { private_key: None },
        persistence_directory: Some(dir.path().to_string_lossy().into_owned()),
        durability: Durability::Normal,
    };
    let ditto = Ditto::open_sync(config).unwrap();
    (dir, ditto)
}

/// Waits on a runtime that is not the library's, as the executor of another language.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn texts() -> HashMap<String, String> {
    HashMap::from([("name".to_owned(), "x".to_owned())])
}

/// Gives so many bytes in pieces, then ends or fails.
struct Tape {
    left: Mutex<usize>,
    fails: bool,
}

impl AttachmentSource for Tape {
    fn read(&self, max: u32) -> Result<Vec<u8>, DittoError> {
        let mut left = self.left.lock().unwrap();
        if *left == 0 && self.fails {
            return Err(uniffi::UnexpectedUniFFICallbackError::new("the tape has torn").into());
        }
        let piece = (*left).min(max as usize).min(1_000);
        *left -= piece;
        Ok(vec![7; piece])
    }
}

struct Told(Mutex<Sender<AttachmentFetchEvent>>);

impl AttachmentFetchHandler for Told {
    fn on_event(&self, event: AttachmentFetchEvent) -> Result<(), DittoError> {
        self.0.lock().unwrap().send(event).unwrap();
        Ok(())
    }
}

#[test]
fn api_315_to_330_made_of_bytes_and_of_what_a_source_gives() {
    let (dir, ditto) = open();
    let creation = ditto.store().new_attachment_from_bytes(&[7; 300_000], texts());
    let a = run(creation.completion()).unwrap();
    assert!(matches!(run(creation.completion()), Err(DittoError::Store { .. })));
    let tape = |fails| Arc::new(Tape { left: Mutex::new(300_000), fails });
    let same = run(ditto.store().new_attachment_from_source(tape(false), texts())).unwrap();
    assert_eq!((a.id(), a.len(), a.token()), (same.id(), 300_000, same.token()));
    match run(ditto.store().new_attachment_from_source(tape(true), texts())) {
        Err(DittoError::Store { reason, code }) => {
            assert!(reason.contains("torn"), "{reason}");
            assert_eq!(code, "store/failed-to-create-attachment");
        }
        other => panic!("{:?}", other.map(|a| a.id())),
    }

    let reader = a.open().unwrap();
    reader.seek(299_999).unwrap();
    assert_eq!((reader.read(10).unwrap(), reader.read(10).unwrap()), (vec![7], vec![]));
    assert_eq!(run(a.data()).unwrap(), vec![7; 300_000]);
    let copy = dir.path().join("copy");
    run(a.copy_to(copy.to_string_lossy().into_owned())).unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(a.path()).unwrap());
}

#[test]
fn api_331_to_339_tokens_cross_as_values() {
    let token = AttachmentToken { id: "0a".repeat(32), len: 7, metadata: texts() };
    let bytes = attachment_token_to_bytes(token.clone()).unwrap();
    assert_eq!(attachment_token_from_bytes(&bytes).unwrap(), token);
    let text = attachment_token_to_json(token.clone()).unwrap();
    assert_eq!(attachment_token_from_json(text).unwrap(), token);
    for bad in [
        AttachmentToken { id: "x".into(), ..token.clone() },
        AttachmentToken { len: u64::MAX, ..token.clone() },
    ] {
        assert!(matches!(attachment_token_to_json(bad), Err(DittoError::Store { .. })));
    }
    assert!(attachment_token_from_bytes(&bytes[1..]).is_err());
}

#[test]
fn api_341_to_360_a_fetch_tells_its_handler_until_it_ends() {
    let (_dir, ditto) = open();
    let (told, events) = channel();
    let handler = Arc::new(Told(Mutex::new(told)));
    let here = run(ditto.store().new_attachment_from_bytes(b"here", texts()).completion()).unwrap();
    let options = AttachmentFetchOptions::default();
    ditto.store().fetch_attachment(here.token(), options, handler.clone()).unwrap();
    let last = || loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            AttachmentFetchEvent::Progress { downloaded_bytes, total_bytes } => {
                assert!(downloaded_bytes <= total_bytes);
            }
            end => return end,
        }
    };
    assert!(matches!(last(), AttachmentFetchEvent::Completed { attachment } if attachment.id() == here.id()));

    let missing = AttachmentToken { id: "0a".repeat(32), len: 7, metadata: texts() };
    let fetcher = ditto.store().fetch_attachment(missing.clone(), options, handler.clone()).unwrap();
    assert_eq!((fetcher.token(), fetcher.total_bytes(), fetcher.is_ended()), (missing.clone(), 7, false));
    assert_eq!(ditto.store().attachment_fetchers().len(), 1);
    fetcher.cancel();
    assert!(matches!(last(), AttachmentFetchEvent::Cancelled));
    let options = AttachmentFetchOptions { timeout_ms: Some(1), unavailable_after_ms: None };
    ditto.store().fetch_attachment(missing, options, handler).unwrap();
    match last() {
        AttachmentFetchEvent::Failed { reason, code } => {
            assert_eq!(code, "store/failed-to-fetch-attachment", "{reason}");
        }
        _ => panic!("it did not fail"),
    }
}
