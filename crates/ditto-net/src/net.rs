//! The transport of a real process: links and discovery behind one facade, and changing both while it runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, LinkKind, NetEvent, Transport};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::discovery::{Discovery, Source};
use crate::error::NetError;
use crate::http::{HTTP_SOURCE, HttpConfig, Server, Service};
use crate::listener::{Listener, accept_loop, in_use};
use crate::mdns::{self, MdnsConfig};
use crate::multicast::{self, MulticastConfig};
use crate::network;
use crate::part::Part;
use crate::platform::{self, Radio, RadioHandle};
use crate::sink::{EventSink, Events};
use crate::table::{LinkTable, NetStats};
use crate::tcp;
use crate::websocket::{Client, Upgrade};

/// How long a shutdown waits for links that are still sending and for the mDNS goodbye.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(4);

/// Name of the TCP listener in errors.
const TCP: &str = "TCP";
/// The same in `Condition` events.
const TCP_SOURCE: &str = "Tcp";
const HTTP: &str = "HTTP";

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetConfig {
    /// Where to accept TCP links, as `host:port`; port 0 takes a free one, `[::]` is every address of both families.
    /// `None` only dials.
    pub listen: Option<String>,
    /// Discovery on the local network. Without a TCP listener it only looks and announces nothing.
    pub mdns: Option<MdnsConfig>,
    /// The same by announcements of our own.
    pub multicast: Option<MulticastConfig>,
    /// Radios that the platform drives.
    pub radios: Vec<Radio>,
    /// The HTTP listener.
    pub http: Option<HttpConfig>,
    /// Sent with every WebSocket that is dialled, for load balancers; 0 sends none.
    pub routing_hint: u32,
    /// Certificates that are trusted for `wss://` beside those of the system, in DER form.
    pub extra_roots: Vec<Vec<u8>>,
}

impl NetConfig {
    /// What can be wrong without looking at the machine.
    fn check(&self) -> Result<(), NetError> {
        self.mdns.as_ref().map_or(Ok(()), MdnsConfig::check)?;
        self.multicast.as_ref().map_or(Ok(()), MulticastConfig::check)
    }
}

/// Links and discovery of one process.
///
/// Every call of [`Transport`] returns at once; results arrive as [`Events`]. Each dial is answered by one
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
    bound: Mutex<Bound>,
    /// How WebSockets are dialled.
    client: Mutex<Arc<Client>>,
    /// Joins what all ways of discovery find.
    discovery: Arc<Discovery>,
    /// The radios by name.
    radios: Mutex<BTreeMap<String, RadioHandle>>,
}

#[derive(Clone, Copy, Default)]
struct Bound {
    tcp: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

/// What runs besides links and dials.
#[derive(Default)]
struct Parts {
    config: NetConfig,
    tcp: Option<Listening>,
    http: Option<Listening>,
    /// What the HTTP listener does; there is one exactly while there is a listener or one is being made.
    service: Option<watch::Sender<Arc<Service>>>,
    mdns: Option<Part>,
    multicast: Option<Part>,
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
    pub async fn start(config: NetConfig, events: impl Into<Events>) -> Result<Net, NetError> {
        let (sink, stopper) = EventSink::new(events);
        let table = LinkTable::new();
        let (parts, bound, client, discovery, radios) = Default::default();
        let net = Net { table, sink, stopper, parts, bound, client, discovery, radios };
        net.reconfigure(config).await?;
        // It has nothing to wait for, so a shutdown need not wait for it.
        tokio::spawn(network::watch(net.sink.clone()));
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
        let service = match &config.http {
            Some(http) if before.http.as_ref() != Some(http) => Some(Service::load(http.clone()).await?),
            _ => None,
        };
        self.move_listeners(&mut parts, &config, service.as_ref()).await?;
        // From here on nothing fails.
        if let (Some(service), Some(running)) = (service, &parts.service) {
            running.send_replace(service);
        }
        if (config.routing_hint, &config.extra_roots) != (before.routing_hint, &before.extra_roots) {
            *lock(&self.client) = Arc::new(Client::new(config.routing_hint, config.extra_roots.clone()));
        }
        // It announces the listener's port.
        if config.mdns != before.mdns || config.listen != before.listen {
            self.restart_mdns(&mut parts, config.mdns.clone());
        }
        if config.multicast != before.multicast || config.listen != before.listen {
            self.restart_multicast(&mut parts, config.multicast.clone());
        }
        if config.radios != before.radios {
            self.restart_radios(&config.radios);
        }
        parts.config = config;
        Ok(())
    }

    /// Binds the new addresses before the old listeners end, unless an old one is what keeps a new one from that.
    async fn move_listeners(
        &self,
        parts: &mut Parts,
        config: &NetConfig,
        service: Option<&Arc<Service>>,
    ) -> Result<(), NetError> {
        let http_address = |config: &NetConfig| config.http.as_ref().map(|http| http.address.clone());
        let tcp = (config.listen != parts.config.listen).then(|| config.listen.clone());
        let http = (http_address(config) != http_address(&parts.config)).then(|| http_address(config));
        let mut fresh = bind(&tcp, &http).await;
        if matches!(&fresh, Err(e) if in_use(e)) {
            let old_tcp = if tcp.is_some() { parts.tcp.take() } else { None };
            let old_http = if http.is_some() { parts.http.take() } else { None };
            if old_tcp.is_some() || old_http.is_some() {
                let old = [end(old_tcp).await, end(old_http).await];
                fresh = bind(&tcp, &http).await;
                if fresh.is_err() {
                    let [old_tcp, old_http] = old.map(|a| a.map(|a| a.to_string()));
                    self.adopt_tcp(parts, restore(TCP, old_tcp).await);
                    let running = parts.service.as_ref().map(|s| s.borrow().clone());
                    if let Some(running) = running {
                        self.adopt_http(parts, restore(HTTP, old_http).await, &running);
                    }
                }
            }
        }
        let (fresh_tcp, fresh_http) = fresh?;
        if tcp.is_some() {
            end(parts.tcp.take()).await;
            self.adopt_tcp(parts, fresh_tcp);
        }
        if http.is_some() {
            end(parts.http.take()).await;
            match service {
                Some(service) => self.adopt_http(parts, fresh_http, service),
                None => parts.service = None,
            }
        }
        *lock(&self.bound) = Bound {
            tcp: parts.tcp.as_ref().map(|l| l.address),
            http: parts.http.as_ref().map(|l| l.address),
        };
        Ok(())
    }

    fn adopt_tcp(&self, parts: &mut Parts, listener: Option<Listener>) {
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
    }

    fn adopt_http(&self, parts: &mut Parts, listener: Option<Listener>, service: &Arc<Service>) {
        let (running, follow) = watch::channel(service.clone());
        parts.service = listener.is_some().then_some(running);
        parts.http = listener.map(|listener| {
            let address = listener.address();
            let (table, sink) = (self.table.clone(), self.sink.clone());
            let upgrade = Upgrade { table, sink, limit: tcp::MAX_ACCEPTED };
            let part = Part::spawn(&self.table, &self.sink, None, async move |sink: EventSink| {
                let url = format!("{}://{address}", follow.borrow().scheme());
                tracing::info!(url, "listening");
                sink.emit(NetEvent::Listening { addr: url }).await;
                let server = Server::new(upgrade, sink.clone(), follow);
                accept_loop(listener, HTTP_SOURCE, sink, |stream, remote| server.take(stream, remote)).await;
            });
            Listening { part, address }
        });
    }

    fn restart_mdns(&self, parts: &mut Parts, config: Option<MdnsConfig>) {
        let (before, listen) = (parts.mdns.take(), parts.tcp.as_ref().map(|l| l.address));
        let Some(config) = config else {
            // Kept, because a later one must wait for its end.
            before.iter().for_each(Part::stop);
            parts.mdns = before;
            return;
        };
        let events = self.discovery.source(&self.table, Source::Mdns, &self.sink);
        parts.mdns = Some(Part::spawn(&self.table, &events.clone(), before, async move |sink: EventSink| {
            mdns::run(config, listen, sink, events).await;
        }));
    }

    fn restart_multicast(&self, parts: &mut Parts, config: Option<MulticastConfig>) {
        let (before, listen) = (parts.multicast.take(), parts.tcp.as_ref().map(|l| l.address));
        let Some(config) = config else {
            // Kept, because a later one must wait for its end.
            before.iter().for_each(Part::stop);
            parts.multicast = before;
            return;
        };
        let found = self.discovery.source(&self.table, Source::Multicast, &self.sink);
        parts.multicast =
            Some(Part::spawn(&self.table, &found, before, move |sink| multicast::run(config, listen, sink)));
    }

    /// All of them: an app sets its radios once.
    fn restart_radios(&self, radios: &[Radio]) {
        let mut running = lock(&self.radios);
        let mut old = std::mem::take(&mut *running);
        for radio in radios {
            let found = self.discovery.source(&self.table, Source::Radio(radio.name.clone()), &self.sink);
            let before = old.remove(&radio.name);
            let started = platform::start(radio.clone(), &self.table, self.sink.clone(), &found, before);
            running.insert(radio.name.clone(), started);
        }
    }

    /// Where the TCP listener listens, with the port it got.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        lock(&self.bound).tcp
    }

    /// Where the HTTP listener listens, with the port it got.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        lock(&self.bound).http
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

/// Binds what is asked for; `None` outside is no change, inside no listener.
async fn bind(
    tcp: &Option<Option<String>>,
    http: &Option<Option<String>>,
) -> Result<(Option<Listener>, Option<Listener>), NetError> {
    let one = async |what, address: &Option<Option<String>>| match address {
        Some(Some(address)) => Listener::bind(what, address).await.map(Some),
        _ => Ok(None),
    };
    Ok((one(TCP, tcp).await?, one(HTTP, http).await?))
}

/// Ends a listener and says where it was.
async fn end(listening: Option<Listening>) -> Option<SocketAddr> {
    let Listening { part, address } = listening?;
    part.end().await;
    Some(address)
}

/// Takes back the address that was given up a moment ago.
async fn restore(what: &'static str, address: Option<String>) -> Option<Listener> {
    match Listener::bind(what, &address?).await {
        Ok(listener) => Some(listener),
        Err(e) => {
            tracing::error!(error = %e, "the listener is lost");
            None
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under the lock is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            DialTarget::WebSocket(url) => {
                let (client, url) = (lock(&self.client).clone(), url.clone());
                let connect = async move { client.connect(&url).await };
                tcp::dial_with(&self.table, &self.sink, link, LinkKind::WebSocket, connect);
            }
            DialTarget::Platform { radio, device, .. } => match lock(&self.radios).get(radio) {
                Some(radio) => radio.dial(link, *device),
                None => platform::no_such_radio(&self.table, &self.sink, link, radio),
            },
            other => {
                let reason = format!("this transport cannot dial {other}");
                tcp::fail_dial(&self.table, &self.sink, link, reason);
            }
        }
    }

    fn write(&self, link: LinkId, bytes: Vec<u8>) {
        self.table.write(link, bytes);
    }

    fn write_now(&self, link: LinkId, bytes: Vec<u8>) -> usize {
        self.table.write_now(link, bytes)
    }

    fn close(&self, link: LinkId) {
        self.table.remove(link);
    }
}
