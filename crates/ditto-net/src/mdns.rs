//! Announcing this process on the local network and finding others, by mDNS and DNS-SD.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ditto_mesh::transport::NetEvent;
use if_addrs::Interface;
use mdns_sd::{DaemonEvent, IfKind, IfPredicate, Receiver, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::error::NetError;
use crate::interfaces::{is_cellular, multicast_available, usable_interfaces};
use crate::sink::EventSink;
use crate::tcp::canonical;

mod found;

use found::{Found, targets};

/// How often the interfaces are looked at, and how often the daemon does.
const INTERFACE_CHECK: Duration = Duration::from_secs(5);
/// Pause before a daemon that failed is started again.
const RESTART: Duration = Duration::from_secs(5);
/// The daemon repeats a goodbye after 120 ms; then it may end.
const GOODBYE: Duration = Duration::from_millis(200);
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// Name of this transport in `Condition` events.
const SOURCE: &str = "Mdns";
/// The version of our announcement. Others are ignored.
const VERSION: (&str, &str) = ("v", "1");

/// Discovery on the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MdnsConfig {
    /// `_name._tcp.local.`, with a name of at most 15 characters. Only instances of the same type find each other.
    pub service_type: String,
    /// What this process calls itself: the instance name, so it must be unique and should be random. 1 to 63
    /// characters of `a-z`, `0-9` and `-`.
    pub token: String,
}

impl MdnsConfig {
    pub(crate) fn check(&self) -> Result<(), NetError> {
        if !is_token(&self.token) {
            return Err(NetError::Token { token: self.token.clone() });
        }
        let name = self.service_type.strip_prefix('_').and_then(|s| s.strip_suffix("._tcp.local."));
        if !name.is_some_and(|name| name.len() <= 15 && is_token(name)) {
            return Err(NetError::ServiceType { service_type: self.service_type.clone() });
        }
        Ok(())
    }
}

/// Whether `text` can be a DNS label without any escaping.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Announces and looks until `sink` stops; then what was found goes to `events` as lost.
pub(crate) async fn run(config: MdnsConfig, listen: Option<SocketAddr>, sink: EventSink, events: EventSink) {
    let mut discovery = Discovery {
        config,
        listen,
        sink,
        found: Found::default(),
        loopback: Arc::new(AtomicBool::new(false)),
        interfaces: Vec::new(),
        condition: None,
    };
    loop {
        match discovery.serve().await {
            Ok(()) => break,
            Err(e) => {
                tracing::warn!(error = %e, "discovery fails");
                discovery.condition(e.to_string()).await;
            }
        }
        tokio::select! {
            () = discovery.sink.stopped() => break,
            () = sleep(RESTART) => {}
        }
    }
    discovery.found.clear();
    while !events.is_stopped()
        && let Some(lost) = discovery.found.next_event()
    {
        events.emit(lost).await;
    }
}

struct Discovery {
    config: MdnsConfig,
    listen: Option<SocketAddr>,
    sink: EventSink,
    found: Found,
    /// Whether there is nothing but loopback, so that processes of this machine must use that. Shared with the daemon.
    loopback: Arc<AtomicBool>,
    interfaces: Vec<Interface>,
    /// The last reported condition.
    condition: Option<String>,
}

impl Discovery {
    /// One life of the daemon. `Ok` when the transport stops.
    async fn serve(&mut self) -> mdns_sd::Result<()> {
        self.look_at_interfaces();
        let daemon = ServiceDaemon::new()?;
        let loopback = self.loopback.clone();
        let unwanted = IfPredicate::new(move |interface: &Interface| {
            is_cellular(&interface.name) || (interface.is_loopback() && !loopback.load(Ordering::Relaxed))
        });
        daemon.disable_interface(IfKind::Predicate(unwanted))?;
        let monitor = daemon.monitor()?;
        let announced = self.announce(&daemon)?;
        let browse = daemon.browse(&self.config.service_type)?;
        self.report_availability().await;
        let outcome = self.follow(&daemon, browse, monitor).await;
        withdraw(&daemon, announced).await;
        outcome
    }

    /// Registers this instance, when it listens somewhere that others can reach. Returns its full name.
    fn announce(&self, daemon: &ServiceDaemon) -> mdns_sd::Result<Option<String>> {
        let Some(listen) = self.listen else {
            return Ok(None);
        };
        let ip = canonical(listen.ip());
        if ip.is_loopback() && !self.loopback.load(Ordering::Relaxed) {
            tracing::info!(%listen, "not announced: the listener takes only connections of this machine");
            return Ok(None);
        }
        // A host name of its own lets several processes of one machine announce side by side.
        let host = format!("{}.local.", self.config.token);
        let (kind, token, port) = (&self.config.service_type, &self.config.token, listen.port());
        let service = if ip.is_unspecified() {
            let mut service =
                ServiceInfo::new(kind, token, &host, "", port, &[VERSION][..])?.enable_addr_auto();
            if ip.is_ipv4() {
                service.set_interfaces(vec![IfKind::IPv4]);
            }
            service
        } else {
            ServiceInfo::new(kind, token, &host, ip, port, &[VERSION][..])?
        };
        let name = service.get_fullname().to_owned();
        daemon.register(service)?;
        Ok(Some(name))
    }

    async fn follow(
        &mut self,
        daemon: &ServiceDaemon,
        mut browse: Receiver<ServiceEvent>,
        monitor: Receiver<DaemonEvent>,
    ) -> mdns_sd::Result<()> {
        let sink = self.sink.clone();
        let mut check = interval(INTERFACE_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = sink.stopped() => return Ok(()),
                event = browse.recv_async() => match event {
                    Ok(event) => self.on_service(event),
                    Err(_) => {
                        // The daemon drops a listener that was too slow. What it knows it will tell again.
                        self.found.clear();
                        browse = daemon.browse(&self.config.service_type)?;
                    }
                },
                event = monitor.recv_async() => match event {
                    Ok(event) => self.on_daemon(event).await,
                    Err(_) => return Err(mdns_sd::Error::DaemonShutdown),
                },
                Some(slot) = sink.reserve(), if self.found.is_dirty() => {
                    if let Some(event) = self.found.next_event() {
                        slot.fill(event);
                    }
                }
                _ = check.tick() => {
                    if self.look_at_interfaces() {
                        self.report_availability().await;
                    }
                }
            }
        }
    }

    fn on_service(&mut self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let Some(token) = self.token_of(&service.fullname) else {
                    return;
                };
                if service.get_property_val_str(VERSION.0) != Some(VERSION.1) || service.port == 0 {
                    tracing::debug!(name = service.fullname, "announcement of another version ignored");
                    return;
                }
                let loopback = self.loopback.load(Ordering::Relaxed);
                let targets = targets(&service.addresses, service.port, &self.interfaces, loopback);
                self.found.set(token, targets);
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                if let Some(token) = self.token_of(&name) {
                    self.found.remove(&token);
                }
            }
            _ => {}
        }
    }

    /// The token in the full name of somebody else's instance.
    fn token_of(&self, fullname: &str) -> Option<String> {
        let name = fullname.to_ascii_lowercase();
        let token = name.strip_suffix(&self.config.service_type)?.strip_suffix('.')?;
        (is_token(token) && token != self.config.token).then(|| token.to_owned())
    }

    async fn on_daemon(&mut self, event: DaemonEvent) {
        match event {
            DaemonEvent::Error(e) => self.condition(format!("mDNS: {e}")).await,
            DaemonEvent::NameChange(change) => {
                let text = format!("the name {} is used by another device", change.original);
                self.condition(text).await;
            }
            DaemonEvent::IpAdd(ip) => tracing::debug!(%ip, "address added"),
            DaemonEvent::IpDel(ip) => tracing::debug!(%ip, "address removed"),
            _ => {}
        }
    }

    /// Whether the usable interfaces have changed.
    fn look_at_interfaces(&mut self) -> bool {
        let now = usable_interfaces();
        self.loopback.store(now.is_empty(), Ordering::Relaxed);
        let changed = now != self.interfaces;
        self.interfaces = now;
        changed
    }

    async fn report_availability(&mut self) {
        let text = match tokio::task::spawn_blocking(multicast_available).await {
            Ok(Ok(names)) => {
                tracing::info!(interfaces = ?names, "discovery is on");
                "ok".to_owned()
            }
            Ok(Err(reason)) => reason,
            Err(_) => return,
        };
        self.condition(text).await;
    }

    /// Reports a condition that differs from the last one; "ok" is what everybody assumes at first.
    async fn condition(&mut self, text: String) {
        if self.condition.as_deref().unwrap_or("ok") == text {
            return;
        }
        self.condition = Some(text.clone());
        self.sink.emit(NetEvent::Condition { source: SOURCE.to_owned(), text }).await;
    }
}

/// Says goodbye, so that others need not wait for the announcement to expire, and ends the daemon.
async fn withdraw(daemon: &ServiceDaemon, announced: Option<String>) {
    if let Some(name) = announced
        && let Ok(done) = daemon.unregister(&name)
    {
        // A daemon that is already gone has nothing to withdraw.
        let _ = timeout(GOODBYE_LIMIT, done.recv_async()).await;
        sleep(GOODBYE).await;
    }
    if let Ok(done) = daemon.shutdown() {
        let _ = timeout(GOODBYE_LIMIT, done.recv_async()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let config = |service_type: &str, token: &str| MdnsConfig {
            service_type: service_type.to_owned(),
            token: token.to_owned(),
        };
        assert!(config("_ditto-1a2b3c4d._tcp.local.", "a-9").check().is_ok());
        for token in ["", "A", "a b", "a.b", "ä", "-a", "a-", &"a".repeat(64)] {
            let checked = config("_ditto._tcp.local.", token).check();
            assert!(matches!(checked, Err(NetError::Token { .. })), "{token:?}");
        }
        for kind in [
            "",
            "ditto._tcp.local.",
            "_ditto._udp.local.",
            "_ditto._tcp.local",
            "_a234567890123456._tcp.local.",
        ] {
            let checked = config(kind, "a").check();
            assert!(matches!(checked, Err(NetError::ServiceType { .. })), "{kind:?}");
        }
    }
}
