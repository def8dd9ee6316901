//! The transport of a real process: TCP links and mDNS discovery behind one facade.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, NetEvent, Transport};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::error::NetError;
use crate::mdns::{self, MdnsConfig};
use crate::sink::EventSink;
use crate::table::{LinkTable, NetStats};
use crate::tcp;

/// How long a shutdown waits for links that are still sending and for the mDNS goodbye.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(4);

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct NetConfig {
    /// Where to accept TCP links, as `host:port`; port 0 takes a free one, `[::]` is every address of both families.
    /// `None` only dials.
    pub listen: Option<String>,
    /// Discovery on the local network. Without a listener it only looks and announces nothing.
    pub mdns: Option<MdnsConfig>,
}

/// TCP links and mDNS discovery.
///
/// Every call of [`Transport`] returns at once; results arrive on the events channel. Each dial is answered by one
/// `DialFailed`, or by one `LinkUp` that one `LinkDown` follows. The transport reads from a link only as fast as
/// events are taken, so a channel of a few dozen places bounds the memory of all links together.
///
/// Dropping it stops everything at once; [`Net::shutdown`] says goodbye to the network first.
pub struct Net {
    table: Arc<LinkTable>,
    sink: EventSink,
    stopper: watch::Sender<bool>,
    listen_addr: Option<SocketAddr>,
}

impl Net {
    /// Starts the listener and discovery on the current tokio runtime.
    ///
    /// # Errors
    /// When the listen address cannot be bound, or the discovery names are not allowed in DNS. That discovery finds
    /// no usable interface is not an error but a `Condition` event, because one may come up later.
    pub async fn start(config: NetConfig, events: mpsc::Sender<NetEvent>) -> Result<Net, NetError> {
        if let Some(mdns) = &config.mdns {
            mdns.check()?;
        }
        let listener = match &config.listen {
            Some(address) => Some(tcp::bind(address).await?),
            None => None,
        };
        let listen_addr = listener.as_ref().and_then(|l| l.local_addr().ok());
        let table = LinkTable::new();
        let (sink, stopper) = EventSink::new(events);
        if let Some(listener) = listener {
            let (table_of_loop, sink_of_loop) = (table.clone(), sink.clone());
            table.spawn(async move {
                if let Some(addr) = listen_addr {
                    tracing::info!(%addr, "listening");
                    sink_of_loop.emit(NetEvent::Listening { addr: addr.to_string() }).await;
                }
                tcp::accept_loop(listener, tcp::MAX_ACCEPTED, table_of_loop, sink_of_loop).await;
            });
        }
        if let Some(config) = config.mdns {
            let sink = sink.clone();
            table.spawn(async move { mdns::run(config, listen_addr, sink).await });
        }
        Ok(Net { table, sink, stopper, listen_addr })
    }

    /// Where the listener listens, with the port it got.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        self.listen_addr
    }

    /// Links, tasks and queued bytes at this moment.
    pub fn stats(&self) -> NetStats {
        self.table.stats()
    }

    /// Withdraws the announcement, closes every link after what was written to it, and returns when no task is left,
    /// at the latest after about four seconds. Calls after it are ignored. Events that find no room in the channel
    /// from now on are dropped.
    pub async fn shutdown(&self) {
        self.stop();
        if timeout(SHUTDOWN_LIMIT, self.table.idle()).await.is_err() {
            tracing::warn!(stats = ?self.table.stats(), "shut down with tasks left");
        }
    }

    fn stop(&self) {
        self.table.shut();
        // Without receivers there is no task to stop.
        let _ = self.stopper.send(true);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Transport for Net {
    fn dial(&self, link: LinkId, target: &DialTarget) {
        match target {
            DialTarget::Tcp(address) => tcp::dial(&self.table, &self.sink, link, address),
            other => {
                let reason = format!("this transport cannot dial {other}");
                tcp::fail_dial(&self.table, &self.sink, link, reason);
            }
        }
    }

    fn write(&self, link: LinkId, bytes: Vec<u8>) {
        self.table.write(link, bytes);
    }

    fn close(&self, link: LinkId) {
        self.table.remove(link);
    }
}
