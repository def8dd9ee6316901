//! Documents as entries of one iroh-docs replica, on disk at both ends: from a full one to an empty one.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use futures_lite::StreamExt;
use iroh::Endpoint;
use iroh::protocol::Router;
use iroh_blobs::BlobsProtocol;
use iroh_blobs::store::fs::FsStore;
use iroh_docs::api::Doc;
use iroh_docs::api::protocol::{AddrInfoOptions, ShareMode};
use iroh_docs::engine::LiveEvent;
use iroh_docs::protocol::Docs;
use iroh_gossip::net::Gossip;
use serde_json::json;

use crate::Outcome;
use crate::crdts::documents;
use crate::messages::say;
use crate::peers::{address, endpoint};
use crate::stopwatch::Stopwatch;

struct Node {
    docs: Docs,
    router: Router,
    endpoint: Endpoint,
}

async fn node(directory: &Path) -> Outcome<Node> {
    std::fs::create_dir_all(directory)?;
    let endpoint = endpoint().await?;
    let blobs = FsStore::load(directory.join("blobs")).await?;
    let gossip = Gossip::builder().spawn(endpoint.clone());
    let docs = Docs::persistent(directory.to_owned())
        .spawn(endpoint.clone(), (*blobs).clone(), gossip.clone())
        .await?;
    let router = Router::builder(endpoint.clone())
        .accept(iroh_blobs::ALPN, BlobsProtocol::new(&blobs, None))
        .accept(iroh_gossip::ALPN, gossip)
        .accept(iroh_docs::ALPN, docs.clone())
        .spawn();
    Ok(Node { docs, router, endpoint })
}

pub(crate) async fn run(file: &Path) -> Outcome<()> {
    let all = documents(file)?;
    let directory = tempfile::tempdir()?;
    let a = node(&directory.path().join("a")).await?;
    let b = node(&directory.path().join("b")).await?;
    let author = a.docs.author_default().await?;
    let full: Doc = a.docs.create().await?;
    for (id, text) in &all {
        full.set_bytes(author, id.clone(), text.clone()).await?;
    }
    let mut ticket = full.share(ShareMode::Read, AddrInfoOptions::Id).await?;
    ticket.nodes = vec![address(&a.endpoint)];

    let watch = Stopwatch::start()?;
    let (_empty, mut events) = b.docs.import_and_subscribe(ticket).await?;
    let mut entries = 0;
    let mut ready = HashSet::new();
    while entries < all.len() || ready.len() < all.len() {
        let next = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
        match next {
            Ok(Some(event)) => match event? {
                LiveEvent::InsertRemote { .. } => entries += 1,
                LiveEvent::ContentReady { hash } => drop(ready.insert(hash)),
                _ => {}
            },
            _ => {
                return Err(
                    format!("{entries} entries and {} contents of {} came", ready.len(), all.len()).into()
                );
            }
        }
    }
    let (wall, cpu) = watch.stop()?;
    say(&json!({ "wall": wall, "cpu": cpu }).to_string())?;
    for node in [a, b] {
        node.router.shutdown().await?;
    }
    Ok(())
}
