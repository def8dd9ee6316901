//! The sockets of multicast discovery: one to hear per family, one to speak per address of this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};

use if_addrs::{IfAddr, Interface};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::message::MAX_DATAGRAM;
use crate::interfaces::on_link;

/// The IPv4 group, of the range for use within an organisation (RFC 2365).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 68, 84);
/// The IPv6 group: transient, of the scope of one link (RFC 4291).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x4474, 0x746f);
/// The UDP port of both groups.
pub const PORT: u16 = 21_474;
/// An announcement is for this link.
const HOPS: u32 = 1;

/// One address of this machine from which announcements go out.
struct Speaker {
    address: SocketAddr,
    socket: StdSocket,
    group: SocketAddr,
}

/// What multicast discovery hears and speaks through. Made anew when the interfaces change.
pub(super) struct Sockets {
    hears_v4: Option<UdpSocket>,
    hears_v6: Option<UdpSocket>,
    speakers: Vec<Speaker>,
    interfaces: Vec<Interface>,
    /// Whether something could not be opened.
    incomplete: bool,
}

impl Sockets {
    /// Joins the groups on each of `interfaces`. Those that do not take part are left out; the reason of the last one
    /// is returned beside.
    pub(super) fn open(interfaces: &[Interface]) -> (Self, Option<String>) {
        let mut failure = None;
        let mut note = |what: &str, name: &str, e: &io::Error| {
            tracing::debug!(interface = name, error = %e, "{what}");
            failure = Some(format!("{what} on {name}: {e}"));
        };
        let mut this = Self {
            hears_v4: None,
            hears_v6: None,
            speakers: Vec::new(),
            interfaces: interfaces.to_vec(),
            incomplete: false,
        };
        let v4: Vec<&Interface> = interfaces.iter().filter(|i| i.ip().is_ipv4()).collect();
        let v6: Vec<&Interface> = interfaces.iter().filter(|i| i.ip().is_ipv6()).collect();
        for (family, is_v4) in [(v4, true), (v6, false)] {
            if family.is_empty() {
                continue;
            }
            match listener(&family, is_v4) {
                Ok(socket) if is_v4 => this.hears_v4 = Some(socket),
                Ok(socket) => this.hears_v6 = Some(socket),
                Err(e) => {
                    note("listen for announcements", &family[0].name, &e);
                    continue;
                }
            }
            for interface in family {
                match speaker(interface) {
                    Ok(Some(speaker)) => this.speakers.push(speaker),
                    Ok(None) => {}
                    Err(e) => note("announce", &interface.name, &e),
                }
            }
        }
        this.incomplete = failure.is_some();
        (this, failure)
    }

    /// Whether everything that is possible in principle could be opened.
    pub(super) fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// Addresses from which it speaks.
    pub(super) fn count(&self) -> usize {
        self.speakers.len()
    }

    /// Whether anything can be heard.
    pub(super) fn is_usable(&self) -> bool {
        (self.hears_v4.is_some() || self.hears_v6.is_some()) && !self.speakers.is_empty()
    }

    /// The next datagram: how much of `buf` it fills, and where it came from. Datagrams larger than any announcement
    /// arrive cut, one byte too long.
    pub(super) async fn receive(&self, buf: &mut [u8; MAX_DATAGRAM + 1]) -> (usize, SocketAddr) {
        let mut other = [0; MAX_DATAGRAM + 1];
        let (received, is_v4) = tokio::select! {
            received = hear(self.hears_v4.as_ref(), buf) => (received, true),
            received = hear(self.hears_v6.as_ref(), &mut other) => (received, false),
        };
        if !is_v4 {
            *buf = other;
        }
        received
    }

    /// Sends to everybody, from each address that `may` allows. Failures are for the log: the interface may be going.
    pub(super) fn speak(&self, datagram: &[u8], may: impl Fn(IpAddr) -> bool) {
        for speaker in self.speakers.iter().filter(|speaker| may(speaker.address.ip())) {
            if let Err(e) = speaker.socket.send_to(datagram, speaker.group) {
                tracing::debug!(address = %speaker.address, error = %e, "announcement not sent");
            }
        }
    }

    /// Whether a datagram can come from there: from this link, not through a router or a forged address.
    pub(super) fn is_neighbour(&self, from: SocketAddr) -> bool {
        is_neighbour(&self.interfaces, from)
    }
}

fn is_neighbour(interfaces: &[Interface], from: SocketAddr) -> bool {
    match from.ip() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => true,
        IpAddr::V6(ip) if ip.is_multicast() || ip.is_unspecified() => false,
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified() => false,
        ip => on_link(interfaces, ip),
    }
}

async fn hear(socket: Option<&UdpSocket>, buf: &mut [u8]) -> (usize, SocketAddr) {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    loop {
        match socket.recv_from(buf).await {
            Ok((n, mut from)) => {
                if let SocketAddr::V6(from) = &mut from {
                    // Of no use for dialling.
                    from.set_flowinfo(0);
                }
                return (n, from);
            }
            // As when a datagram of ours was answered by an error. It must not turn into a busy loop.
            Err(e) => {
                tracing::debug!(error = %e, "announcement not received");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// One socket that hears the group on all of `interfaces`, beside those of other processes.
fn listener(interfaces: &[&Interface], is_v4: bool) -> io::Result<UdpSocket> {
    let domain = if is_v4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
    socket.set_reuse_port(true)?;
    let any: SocketAddr = if is_v4 {
        (Ipv4Addr::UNSPECIFIED, PORT).into()
    } else {
        socket.set_only_v6(true)?;
        (Ipv6Addr::UNSPECIFIED, PORT).into()
    };
    socket.bind(&any.into())?;
    let mut joined = 0;
    let mut failure = None;
    for interface in interfaces {
        let outcome = match interface.ip() {
            IpAddr::V4(ip) => socket.join_multicast_v4(&GROUP_V4, &ip),
            IpAddr::V6(_) => socket.join_multicast_v6(&GROUP_V6, interface.index.unwrap_or(0)),
        };
        match outcome {
            Ok(()) => joined += 1,
            // Several addresses of one interface share the membership.
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => joined += 1,
            Err(e) => failure = Some(e),
        }
    }
    if joined == 0 {
        return Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
    }
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// A socket that speaks from this address, or `None` where another address speaks for the interface.
fn speaker(interface: &Interface) -> io::Result<Option<Speaker>> {
    let index = interface.index.unwrap_or(0);
    let (socket, address, group): (Socket, SocketAddr, SocketAddr) = match &interface.addr {
        IfAddr::V4(own) => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_multicast_if_v4(&own.ip)?;
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.set_multicast_loop_v4(true)?;
            (socket, (own.ip, 0).into(), (GROUP_V4, PORT).into())
        }
        IfAddr::V6(own) => {
            // The group is of this link, and so must be the address that others answer to.
            if !own.ip.is_unicast_link_local() && !own.ip.is_loopback() {
                return Ok(None);
            }
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_only_v6(true)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_multicast_loop_v6(true)?;
            let scope = if own.ip.is_loopback() { 0 } else { index };
            let address = SocketAddrV6::new(own.ip, 0, 0, scope).into();
            (socket, address, SocketAddrV6::new(GROUP_V6, PORT, 0, index).into())
        }
    };
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(Some(Speaker { address, socket: socket.into(), group }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_are_listened_to() {
        let own = Interface {
            name: "test0".to_owned(),
            addr: IfAddr::V4(if_addrs::Ifv4Addr {
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
        };
        let is = |text: &str| is_neighbour(std::slice::from_ref(&own), text.parse().unwrap());
        assert!(is("192.0.2.200:1") && is("[fe80::1%2]:1"));
        assert!(!is("198.51.100.1:1") && !is("[2001:db8::1]:1") && !is("224.0.0.1:1") && !is("[ff02::1]:1"));
    }
}
