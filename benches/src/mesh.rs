//! Links and sessions of the mesh over loopback, beside bare TLS of the same library and bare TCP.
//!
//! Both ends run in this process, each the mesh machine and the sockets as the SDK runs them. The peers are driven by
//! tokio as well: a task at each end of one connection.

pub(crate) mod bare;
mod bulk;
mod crowd;
mod end;
mod message;
mod setup;

use crate::Outcome;
use crate::row::Report;

/// Figures of one kind of connection: ours, TLS, TCP.
#[derive(Clone, Copy, Default)]
struct Three {
    ours: f64,
    tls: f64,
    tcp: f64,
}

impl Three {
    fn pair(self) -> (f64, f64) {
        (self.ours, self.tls)
    }
}

/// Turns of each measurement. Who is measured first changes from turn to turn.
fn repeats(quick: bool) -> usize {
    if quick { 3 } else { 7 }
}

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    setup::run(report, quick).await?;
    bulk::run(report, quick).await?;
    message::run(report, quick).await?;
    crowd::run(report, quick).await
}

/// One of the four, for profiles.
pub(crate) async fn part(report: &mut Report, name: &str, quick: bool) -> Outcome<()> {
    match name {
        "mesh:setup" => setup::run(report, quick).await,
        "mesh:bulk" => bulk::run(report, quick).await,
        "mesh:message" => message::run(report, quick).await,
        "mesh:crowd" => crowd::run(report, quick).await,
        _ => Err(format!("no part {name}").into()),
    }
}
