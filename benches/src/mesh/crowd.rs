//! Many peers in one process, in memory: what one costs while nothing happens.

use std::collections::BTreeSet;
use std::time::Duration;

use ditto_mesh::transport::DialTarget;
use ditto_mesh::{Action, Input, PeerKey};
use ditto_net::MemoryHub;
use tokio::sync::watch;

use super::end::{App, End};
use crate::Outcome;
use crate::measure::Stopwatch;
use crate::row::Report;

/// CPU of a peer that is connected and has nothing to do, in microseconds per second: one thousandth of a core.
const IDLE_LIMIT: f64 = 1_000.0;

/// Peers that each one dials: the next ones of a ring.
const DIALS: usize = 3;

struct Count(BTreeSet<PeerKey>, watch::Sender<usize>);

impl App for Count {
    fn on(&mut self, action: Action, _: &mut Vec<Input>) {
        match action {
            Action::PeerConnected(info) => drop(self.0.insert(info.peer)),
            Action::PeerDisconnected { peer, .. } => drop(self.0.remove(&peer)),
            _ => return,
        }
        self.1.send_replace(self.0.len());
    }
}

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let sizes: &[usize] = if quick { &[10] } else { &[3, 10, 50] };
    let seconds = if quick { 3 } else { 20 };
    for &peers in sizes {
        let hub = MemoryHub::new();
        let mut ends = Vec::new();
        for i in 0..peers {
            let targets: BTreeSet<usize> = (1..=DIALS).map(|d| (i + d) % peers).filter(|t| *t != i).collect();
            let degree = (2 * DIALS).min(peers - 1);
            let targets = targets.into_iter().map(|t| DialTarget::Memory(format!("end-{t}"))).collect();
            let (sender, connected) = watch::channel(0);
            ends.push((
                End::memory(i as u64, &hub, targets, Count(BTreeSet::new(), sender)),
                connected,
                degree,
            ));
        }
        for (_, connected, degree) in &mut ends {
            let wanted = *degree;
            connected.wait_for(|n| *n >= wanted).await?;
        }
        // Presence of the beginning has to settle.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let watch = Stopwatch::start()?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let taken = watch.stop()?;
        let each = taken.cpu * 1e6 / taken.wall / peers as f64;
        report.limit(&format!("{peers} idle peers in memory, CPU of each"), each, IDLE_LIMIT, "us/s");
    }
    Ok(())
}
