//! A file from one iroh-blobs store on disk to another, verified.

use std::path::Path;

use iroh::protocol::Router;
use iroh_blobs::BlobsProtocol;
use iroh_blobs::store::fs::FsStore;
use serde_json::json;

use crate::Outcome;
use crate::messages::say;
use crate::peers::{address, endpoint};
use crate::stopwatch::Stopwatch;

/// Taking the file into the first store is not measured, as with ours.
pub(crate) async fn run(file: &Path, directory: &Path) -> Outcome<()> {
    let (from, to) = (FsStore::load(directory.join("a")).await?, FsStore::load(directory.join("b")).await?);
    let tag = from.blobs().add_path(std::path::absolute(file)?).temp_tag().await?;
    let server = endpoint().await?;
    let router =
        Router::builder(server.clone()).accept(iroh_blobs::ALPN, BlobsProtocol::new(&from, None)).spawn();
    let client = endpoint().await?;
    let connection = client.connect(address(&server), iroh_blobs::ALPN).await?;
    let watch = Stopwatch::start()?;
    to.remote().fetch(connection, tag.hash_and_format()).complete().await?;
    if !to.blobs().has(tag.hash()).await? {
        return Err("the file did not arrive".into());
    }
    let (wall, cpu) = watch.stop()?;
    say(&json!({ "wall": wall, "cpu": cpu }).to_string())?;
    router.shutdown().await?;
    client.close().await;
    Ok(())
}
