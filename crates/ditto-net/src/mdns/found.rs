//! What discovery knows of others, and what of that still has to be told.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use ditto_mesh::transport::{DialTarget, NetEvent};
use if_addrs::Interface;
use mdns_sd::ScopedIp;

use crate::interfaces::on_link;

/// Instances remembered at once. Anybody on the network can invent more.
const MAX_INSTANCES: usize = 1024;
/// Targets of one instance.
const MAX_TARGETS: usize = 8;

/// The instances that are announced now, with what the consumer of the events was last told of each.
///
/// Changes wait here and are joined, so that a slow consumer costs no memory and hears only of the last state.
#[derive(Default)]
pub(super) struct Found {
    now: BTreeMap<String, Vec<DialTarget>>,
    told: BTreeMap<String, Vec<DialTarget>>,
    dirty: BTreeSet<String>,
}

impl Found {
    /// An instance without any target is one that cannot be dialled, which is as good as none.
    pub(super) fn set(&mut self, token: String, targets: Vec<DialTarget>) {
        if targets.is_empty() {
            self.remove(&token);
            return;
        }
        if !self.now.contains_key(&token) && self.now.len() >= MAX_INSTANCES {
            tracing::debug!(token, limit = MAX_INSTANCES, "discovered instance ignored: too many");
            return;
        }
        self.dirty.insert(token.clone());
        self.now.insert(token, targets);
    }

    pub(super) fn remove(&mut self, token: &str) {
        if self.now.remove(token).is_some() {
            self.dirty.insert(token.to_owned());
        }
    }

    pub(super) fn clear(&mut self) {
        self.dirty.extend(std::mem::take(&mut self.now).into_keys());
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next thing to tell, if any of the changes still makes a difference.
    pub(super) fn next_event(&mut self) -> Option<NetEvent> {
        while let Some(token) = self.dirty.pop_first() {
            match self.now.get(&token) {
                Some(targets) if self.told.get(&token) != Some(targets) => {
                    self.told.insert(token.clone(), targets.clone());
                    return Some(NetEvent::Discovered { token, targets: targets.clone() });
                }
                None if self.told.remove(&token).is_some() => return Some(NetEvent::Lost { token }),
                _ => {}
            }
        }
        None
    }
}

/// Ways to dial an instance at these addresses, the most promising first: a subnet that we share, then link-local,
/// then whatever needs a router. Loopback addresses count only when there is nothing else on this machine.
pub(super) fn targets(
    addresses: &HashSet<ScopedIp>,
    port: u16,
    interfaces: &[Interface],
    loopback: bool,
) -> Vec<DialTarget> {
    let ranked: BTreeSet<(u8, SocketAddr)> = addresses
        .iter()
        .filter_map(|address| {
            let ip = address.to_ip_addr().to_canonical();
            if ip.is_unspecified() || ip.is_multicast() || (ip.is_loopback() && !loopback) {
                return None;
            }
            let socket = match (ip, address) {
                (IpAddr::V6(ip), ScopedIp::V6(scoped)) if ip.is_unicast_link_local() => {
                    SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scoped.scope_id().index))
                }
                _ => SocketAddr::new(ip, port),
            };
            Some((rank(&socket, interfaces), socket))
        })
        .collect();
    ranked.into_iter().take(MAX_TARGETS).map(|(_, address)| DialTarget::Tcp(address.to_string())).collect()
}

fn rank(address: &SocketAddr, interfaces: &[Interface]) -> u8 {
    match address.ip() {
        // Every machine has the subnet of link-local addresses, on each of its interfaces.
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 2,
        IpAddr::V4(ip) if ip.is_link_local() => 3,
        ip if ip.is_loopback() => 6,
        IpAddr::V4(ip) if on_link(interfaces, ip.into()) => 0,
        IpAddr::V6(ip) if on_link(interfaces, ip.into()) => 1,
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn tcp(address: &str) -> DialTarget {
        DialTarget::Tcp(address.to_owned())
    }

    fn here() -> Interface {
        Interface {
            name: "test0".to_owned(),
            addr: if_addrs::IfAddr::V4(if_addrs::Ifv4Addr {
                ip: Ipv4Addr::new(192, 0, 2, 7),
                netmask: Ipv4Addr::new(255, 255, 255, 0),
                prefixlen: 24,
                broadcast: None,
            }),
            index: Some(2),
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
            #[cfg(windows)]
            adapter_name: String::new(),
        }
    }

    fn addresses(texts: &[&str]) -> HashSet<ScopedIp> {
        texts.iter().map(|text| ScopedIp::from(text.parse::<IpAddr>().unwrap())).collect()
    }

    #[test]
    fn reachable_addresses_come_first_and_loopback_only_alone() {
        let all =
            addresses(&["127.0.0.1", "10.1.1.1", "fe80::1", "192.0.2.9", "fd00::9", "0.0.0.0", "224.0.0.1"]);
        let found = targets(&all, 4040, &[here()], false);
        let expected = ["192.0.2.9:4040", "[fe80::1]:4040", "10.1.1.1:4040", "[fd00::9]:4040"].map(tcp);
        assert_eq!(found, expected);
        assert_eq!(targets(&addresses(&["127.0.0.1", "::1"]), 1, &[here()], false), []);
        assert_eq!(targets(&addresses(&["127.0.0.1"]), 1, &[], true), [tcp("127.0.0.1:1")]);
    }

    #[test]
    fn only_differences_are_told() {
        let mut found = Found::default();
        found.set("a".into(), vec![tcp("1")]);
        found.set("a".into(), vec![tcp("2")]);
        assert_eq!(
            found.next_event(),
            Some(NetEvent::Discovered { token: "a".into(), targets: vec![tcp("2")] })
        );
        found.set("a".into(), vec![tcp("2")]);
        assert_eq!(found.next_event(), None);
        found.set("b".into(), vec![tcp("3")]);
        found.remove("b");
        assert_eq!(found.next_event(), None, "an instance that came and went unseen is no news");
        found.set("a".into(), Vec::new());
        assert_eq!(found.next_event(), Some(NetEvent::Lost { token: "a".into() }));
        assert!(!found.is_dirty());
    }

    #[test]
    fn invented_instances_are_bounded() {
        let mut found = Found::default();
        for i in 0..MAX_INSTANCES + 50 {
            found.set(format!("t{i}"), vec![tcp("1")]);
        }
        assert_eq!(std::iter::from_fn(|| found.next_event()).count(), MAX_INSTANCES);
        found.clear();
        let lost =
            std::iter::from_fn(|| found.next_event()).filter(|e| matches!(e, NetEvent::Lost { .. })).count();
        assert_eq!(lost, MAX_INSTANCES);
    }
}
