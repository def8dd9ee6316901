//! The transport of a real process: links and discovery behind one facade, and changing both while it runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, NetEvent, Transport};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::error::NetError;
use crate::listener::{Listener, accept_loop, in_use};
use crate::mdns::{self, MdnsConfig};
use crate::part::Part;
use crate::sink::EventSink;
use crate::table::{LinkTable, NetStats};
use crate::tcp;

/// How long a shutdown waits for links that are still sending and for the mDNS goodbye.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(4);

/// Name of the TCP listener in errors.
const TCP: &str = "TCP";
/// The same in `Condition` events.
const TCP_SOURCE: &str = "Tcp";

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetConfig {
    /// Where to accept TCP links, as `host:port`; port 0 takes a free one, `[::]` is every address of both families.
    /// `None` only dials.
    pub listen: Option<String>,
    /// Discovery on the local network. Without a TCP listener it only looks and announces nothing.
    pub mdns: Option<MdnsConfig>,
}

impl NetConfig {
    /// What can be wrong without looking at the machine.
    fn check(&self) -> Result<(), NetError> {
        self.mdns.as_ref().map_or(Ok(()), MdnsConfig::check)
    }
}

/// Links and discovery of one process.
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
    /// Locked while a change is under way.
    parts: tokio::sync::Mutex<Parts>,
    /// What the listeners of `parts` are bound to, for those who cannot wait.
    bound: Mutex<Option<SocketAddr>>,
}

/// What runs besides links and dials.
#[derive(Default)]
struct Parts {
    config: NetConfig,
    tcp: Option<Listening>,
    mdns: Option<Part>,
}

struct Listening {
    part: Part,
    address: SocketAddr,
}

impl Net {
    /// Starts on the current tokio runtime.
    ///
    /// # Errors
    /// As [`Net::reconfigure`]; then nothing runs.
    pub async fn start(config: NetConfig, events: mpsc::Sender<NetEvent>) -> Result<Net, NetError> {
        let (sink, stopper) = EventSink::new(events);
        let (parts, bound) = (tokio::sync::Mutex::default(), Mutex::default());
        let net = Net { table: LinkTable::new(), sink, stopper, parts, bound };
        net.reconfigure(config).await?;
        Ok(net)
    }

    /// Makes it run as `config` says. Only what differs from before stops and starts; links and dials go on. It may be
    /// called while nobody takes events.
    ///
    /// # Errors
    /// When an address cannot be bound or something else in `config` cannot be used; then all is as before. That
    /// discovery finds no usable interface is not an error but a `Condition` event, because one may come up later.
    pub async fn reconfigure(&self, config: NetConfig) -> Result<(), NetError> {
        let mut parts = self.parts.lock().await;
        config.check()?;
        let before = parts.config.clone();
        if config.listen != before.listen {
            self.move_listener(&mut parts, config.listen.as_deref()).await?;
        }
        // It announces the listener's port.
        if config.mdns != before.mdns || config.listen != before.listen {
            self.restart_mdns(&mut parts, config.mdns.clone());
        }
        parts.config = config;
        Ok(())
    }

    /// Binds the new address before the old listener ends, unless the old one is what keeps it from that.
    async fn move_listener(&self, parts: &mut Parts, address: Option<&str>) -> Result<(), NetError> {
        let mut fresh = match address {
            Some(address) => Some(Listener::bind(TCP, address).await),
            None => None,
        };
        if let (Some(Err(e)), Some(address)) = (&fresh, address)
            && in_use(e)
            && let Some(old) = parts.tcp.take()
        {
            let old_address = old.address;
            old.part.end().await;
            fresh = Some(Listener::bind(TCP, address).await);
            if matches!(fresh, Some(Err(_))) {
                let restored = Listener::bind(TCP, &old_address.to_string()).await;
                self.adopt(parts, restored.map_err(|e| tracing::error!(error = %e, "listener lost")).ok());
            }
        }
        let fresh = fresh.transpose()?;
        if let Some(old) = parts.tcp.take() {
            old.part.end().await;
        }
        self.adopt(parts, fresh);
        Ok(())
    }

    fn adopt(&self, parts: &mut Parts, listener: Option<Listener>) {
        parts.tcp = listener.map(|listener| {
            let address = listener.address();
            let (table, links) = (self.table.clone(), self.sink.clone());
            let part = Part::spawn(&self.table, &self.sink, None, async move |sink: EventSink| {
                tracing::info!(%address, "listening");
                sink.emit(NetEvent::Listening { addr: address.to_string() }).await;
                let take = |stream, remote| tcp::take(&table, &links, tcp::MAX_ACCEPTED, stream, remote);
                accept_loop(listener, TCP_SOURCE, sink, take).await;
            });
            Listening { part, address }
        });
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = parts.tcp.as_ref().map(|l| l.address);
    }

    fn restart_mdns(&self, parts: &mut Parts, config: Option<MdnsConfig>) {
        let (before, listen) = (parts.mdns.take(), parts.tcp.as_ref().map(|l| l.address));
        let Some(config) = config else {
            // Kept, because a later one must wait for its end.
            before.iter().for_each(Part::stop);
            parts.mdns = before;
            return;
        };
        let events = self.sink.clone();
        parts.mdns = Some(Part::spawn(&self.table, &self.sink, before, async move |sink: EventSink| {
            mdns::run(config, listen, sink, events).await;
        }));
    }

    /// Where the TCP listener listens, with the port it got.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner)
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
