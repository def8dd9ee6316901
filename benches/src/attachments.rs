//! W11: an attachment from the file of one peer to the file of another, verified, beside the same file through TLS.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use ditto::AttachmentFetchEvent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::Outcome;
use crate::engine::open;
use crate::measure::{Stopwatch, Taken};
use crate::mesh::bare::Bare;
use crate::rivals;
use crate::row::Report;

const PIECE: usize = 64 << 10;

/// Memory that each end may take more than before, in MiB.
const MEMORY_MIB: f64 = 32.0;

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let mib = if quick { 64 } else { 256 };
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    write_file(&file, mib)?;
    let tls = Bare::tls().await?;
    let (mut times, mut work) = (Vec::new(), Vec::new());
    let (mut blobs_times, mut blobs_work) = (Vec::new(), Vec::new());
    let mut memory = None;
    for n in 0..if quick { 1 } else { 3 } {
        let at = directory.path().join(n.to_string());
        let before = peak_mib();
        let ours = attachment(&at, &file).await?;
        // The first time only: a peak never falls.
        memory = memory.or_else(|| Some((peak_mib()? - before?) / 2.0));
        let plain = through_tls(&tls, &file, &at.join("copy")).await?;
        let per_mib = |v: f64| v * 1e3 / mib as f64;
        times.push((per_mib(ours.wall), per_mib(plain.wall)));
        work.push((per_mib(ours.cpu), per_mib(plain.cpu)));
        let theirs = at.join("blobs");
        std::fs::create_dir(&theirs)?;
        if let Some(theirs) = rivals::work(&["blob".as_ref(), file.as_os_str(), theirs.as_os_str()])? {
            blobs_times.push((per_mib(ours.wall), per_mib(theirs.wall)));
            blobs_work.push((per_mib(ours.cpu), per_mib(theirs.cpu)));
        }
    }
    let what = format!("attachment of {mib} MiB, file to file, verified");
    let peer = "file -> TLS -> file";
    // At least 0.60 of its rate.
    report.median(&what, times, peer, "ms/MiB", Some(1.0 / 0.60));
    let cpu = work.iter().map(|w| w.0).fold(f64::INFINITY, f64::min);
    report.median(&format!("{what}, CPU of both ends"), work, peer, "ms/MiB", None);
    report.limit(&format!("{what}, CPU of both ends"), cpu, 4.0, "ms/MiB");
    report.median(&what, blobs_times, "iroh-blobs", "ms/MiB", Some(1.0));
    report.median(&format!("{what}, CPU of both ends"), blobs_work, "iroh-blobs", "ms/MiB", Some(1.0));
    if let Some(memory) = memory {
        report.limit(&format!("{what}, memory of each end"), memory, MEMORY_MIB, "MiB");
    }
    Ok(())
}

fn write_file(path: &Path, mib: usize) -> Outcome<()> {
    let (mut out, mut state) = (File::create(path)?, 0x9e37_79b9_7f4a_7c15u64);
    let mut piece = vec![0; PIECE];
    for _ in 0..(mib << 20) / PIECE {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        out.write_all(&piece)?;
    }
    Ok(out.sync_all()?)
}

/// Fetches the file from one instance to another. Making the attachment is not measured, a copy out of the store neither:
/// the file is in the store of either end, synced there at the end of the fetch.
async fn attachment(directory: &Path, file: &Path) -> Outcome<Taken> {
    let a = open(&directory.join("a")).await?;
    let b = open(&directory.join("b")).await?;
    let kept = a.store().new_attachment(file, BTreeMap::new()).await?;
    a.update_transport_config(|c| {
        c.disable_all_peer_to_peer().enable_tcp_listen("127.0.0.1", 0);
    })
    .await?;
    a.sync().start().await?;
    let address = a.sync().listen_address().ok_or("no listener")?.to_string();
    b.update_transport_config(|c| {
        c.disable_all_peer_to_peer().add_tcp_server(address);
    })
    .await?;
    b.sync().start().await?;
    while b.presence().graph().remote_peers.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let watch = Stopwatch::start()?;
    let (events, mut told) = mpsc::unbounded_channel();
    // The receiver may have left when the last is told.
    b.store().fetch_attachment(&kept, move |event| drop(events.send(event)))?;
    loop {
        match told.recv().await.ok_or("the instance is gone")? {
            AttachmentFetchEvent::Progress { .. } => {}
            AttachmentFetchEvent::Completed { .. } => break,
            other => return Err(format!("{other:?}").into()),
        }
    }
    let taken = watch.stop()?;
    a.close().await?;
    b.close().await?;
    Ok(taken)
}

/// The same bytes from file to file, synced, with nothing but TLS between.
async fn through_tls(tls: &Bare, from: &Path, to: &Path) -> Outcome<Taken> {
    let (from, to) = (from.to_owned(), to.to_owned());
    let len = std::fs::metadata(&from)?.len();
    let watch = Stopwatch::start()?;
    let (mut out, mut into) = tls.connect().await?;
    let send = tokio::spawn(async move {
        let (mut file, mut piece) = (File::open(from)?, vec![0; PIECE]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                n => out.write_all(&piece[..n]).await?,
            }
        }
        out.flush().await?;
        Ok::<_, std::io::Error>(out)
    });
    let receive = tokio::spawn(async move {
        let (mut file, mut piece, mut left) = (File::create(to)?, vec![0; PIECE], len);
        while left > 0 {
            match into.read(&mut piece).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => {
                    file.write_all(&piece[..n])?;
                    left -= n as u64;
                }
            }
        }
        file.sync_all()?;
        Ok::<_, std::io::Error>(into)
    });
    let (_out, _into) = (send.await??, receive.await??);
    watch.stop()
}

/// Highest resident memory of this process so far; `None` where the system does not tell.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
