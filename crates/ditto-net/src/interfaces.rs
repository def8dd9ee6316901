//! Which network interfaces can be used, and whether multicast works on them.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use if_addrs::{IfAddr, Interface};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The mDNS groups. The probe below uses them with a port of its own, so that no responder sees it.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// A probe never leaves the machine, so that it is back at once or not at all.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// First letters of interfaces that lead to a cellular network: its address translation and its modems. Nobody else
/// on such a network can be reached, and announcing there costs power and money.
const CELLULAR: [&str; 7] = ["clat", "v4-", "rmnet", "ccmni", "pdp_ip", "wwan", "wwp"];

/// Names of the network interfaces, loopback aside, on which multicast works: discovery can use these.
///
/// It sends one datagram to itself on each interface, with a hop limit of 0, so nothing leaves the machine. That takes
/// a few milliseconds, and up to 0.2 s for an interface where it does not work.
///
/// # Errors
/// Says in words why no interface can be used.
pub fn multicast_available() -> Result<Vec<String>, String> {
    let interfaces = if_addrs::get_if_addrs().map_err(|e| format!("list network interfaces: {e}"))?;
    let mut usable = BTreeSet::new();
    let mut failures = Vec::new();
    for interface in interfaces.iter().filter(|i| reaches_others(i)) {
        if usable.contains(&interface.name) {
            continue;
        }
        match has_multicast_flag(&interface.name).and_then(|()| probe(interface)) {
            Ok(()) => {
                usable.insert(interface.name.clone());
            }
            Err(e) => failures.push(format!("{} ({}): {e}", interface.name, interface.ip())),
        }
    }
    if !usable.is_empty() {
        return Ok(usable.into_iter().collect());
    }
    if failures.is_empty() {
        return Err("no network interface besides loopback is up".to_owned());
    }
    Err(format!("multicast works on no network interface: {}", failures.join("; ")))
}

/// An address of this machine, for people who look for faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Name of the interface.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// Whether others may be reached through it: it is up, and neither loopback nor cellular nor point to point.
    pub is_usable: bool,
    /// Whether a multicast datagram to this machine comes back on it, and why not. Only tried where it is usable.
    pub multicast: Result<(), String>,
}

/// The addresses of this machine, and what they are good for. Takes up to 0.2 s for each on which multicast does not
/// work; nothing leaves the machine.
///
/// # Errors
/// The operating system does not list them.
pub fn interface_reports() -> io::Result<Vec<InterfaceReport>> {
    let report = |interface: &Interface| {
        let is_usable = reaches_others(interface);
        let tried = || has_multicast_flag(&interface.name).and_then(|()| probe(interface));
        let multicast =
            if is_usable { tried().map_err(|e| e.to_string()) } else { Err("not tried".to_owned()) };
        InterfaceReport { name: interface.name.clone(), ip: interface.ip(), is_usable, multicast }
    };
    Ok(if_addrs::get_if_addrs()?.iter().map(report).collect())
}

/// Addresses of this machine at which others may reach it, and through which it reaches others.
pub(crate) fn usable_interfaces() -> Vec<Interface> {
    match if_addrs::get_if_addrs() {
        Ok(all) => all.into_iter().filter(reaches_others).collect(),
        Err(e) => {
            tracing::warn!(error = %e, "list network interfaces");
            Vec::new()
        }
    }
}

fn reaches_others(interface: &Interface) -> bool {
    interface.is_oper_up()
        && !interface.is_loopback()
        && !interface.is_p2p()
        && !interface.ip().is_unspecified()
        && !is_cellular(&interface.name)
}

pub(crate) fn is_cellular(name: &str) -> bool {
    CELLULAR.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether `ip` lies in the subnet of an interface's address, so that no router is needed to reach it.
pub(crate) fn on_link(interfaces: &[Interface], ip: IpAddr) -> bool {
    interfaces.iter().any(|interface| match (&interface.addr, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = u32::from(own.netmask);
            u32::from(own.ip) & mask == u32::from(ip) & mask
        }
        (IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = u128::from(own.netmask);
            u128::from(own.ip) & mask == u128::from(ip) & mask
        }
        _ => false,
    })
}

/// Linux sends multicast even where the interface says that it does not carry it, so the flag has to be asked.
#[cfg(target_os = "linux")]
fn has_multicast_flag(name: &str) -> io::Result<()> {
    const IFF_MULTICAST: u32 = 0x1000;
    let path = format!("/sys/class/net/{name}/flags");
    // A sandbox may hide the file; then the probe alone decides.
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(());
    };
    match u32::from_str_radix(text.trim().trim_start_matches("0x"), 16) {
        Ok(flags) if flags & IFF_MULTICAST == 0 => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the interface does not carry multicast"))
        }
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn has_multicast_flag(_name: &str) -> io::Result<()> {
    Ok(())
}

/// Sends a datagram to the group on this interface and waits for it to come back.
fn probe(interface: &Interface) -> io::Result<()> {
    let index = interface.index.unwrap_or(0);
    let (socket, group) = match interface.ip() {
        IpAddr::V4(ip) => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
            socket.join_multicast_v4(&GROUP_V4, &ip)?;
            socket.set_multicast_if_v4(&ip)?;
            socket.set_multicast_ttl_v4(0)?;
            socket.set_multicast_loop_v4(true)?;
            let group = SocketAddr::from((GROUP_V4, bound_port(&socket)?));
            (socket, group)
        }
        IpAddr::V6(_) => {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
            socket.join_multicast_v6(&GROUP_V6, index)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(0)?;
            socket.set_multicast_loop_v6(true)?;
            let group = SocketAddr::V6(SocketAddrV6::new(GROUP_V6, bound_port(&socket)?, 0, index));
            (socket, group)
        }
    };
    // The port is ours alone, but a stray datagram must not count as an answer.
    let nonce = format!("ditto-probe-{}-{}", std::process::id(), group);
    let nonce = nonce.as_bytes();
    socket.send_to(nonce, &SockAddr::from(group))?;
    let deadline = Instant::now() + PROBE_TIMEOUT;
    let mut buf = [MaybeUninit::uninit(); 256];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a multicast datagram to this machine did not arrive",
            ));
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut buf) {
            // `assume_init` would need unsafe code; the length tells enough apart.
            Ok((n, _)) if n == nonce.len() => return Ok(()),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
    }
}

fn bound_port(socket: &Socket) -> io::Result<u16> {
    socket
        .local_addr()?
        .as_socket()
        .map(|address| address.port())
        .ok_or_else(|| io::Error::other("the socket has no internet address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(ip: &str, netmask: &str) -> Interface {
        let addr = match (ip.parse().unwrap(), netmask.parse().unwrap()) {
            (IpAddr::V4(ip), IpAddr::V4(netmask)) => {
                IfAddr::V4(if_addrs::Ifv4Addr { ip, netmask, prefixlen: 0, broadcast: None })
            }
            (IpAddr::V6(ip), IpAddr::V6(netmask)) => {
                IfAddr::V6(if_addrs::Ifv6Addr { ip, netmask, prefixlen: 0, broadcast: None })
            }
            _ => panic!("mixed families"),
        };
        Interface {
            name: "test0".to_owned(),
            addr,
            index: Some(2),
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
            #[cfg(windows)]
            adapter_name: String::new(),
        }
    }

    #[test]
    fn subnets_decide_what_is_on_link() {
        let own = [interface("192.0.2.7", "255.255.255.0"), interface("fd00::2", "ffff:ffff:ffff:ffff::")];
        assert!(on_link(&own, "192.0.2.200".parse().unwrap()));
        assert!(!on_link(&own, "192.0.3.200".parse().unwrap()));
        assert!(on_link(&own, "fd00::ffff".parse().unwrap()));
        assert!(!on_link(&own, "fd00:0:0:1::1".parse().unwrap()));
    }

    #[test]
    fn interfaces_that_reach_nobody_are_left_out() {
        assert!(reaches_others(&interface("192.0.2.7", "255.255.255.0")));
        assert!(!reaches_others(&interface("127.0.0.1", "255.0.0.0")));
        let mut cellular = interface("192.0.0.4", "255.255.255.255");
        cellular.name = "v4-rmnet_data0".to_owned();
        assert!(!reaches_others(&cellular));
        let mut down = interface("192.0.2.7", "255.255.255.0");
        down.oper_status = if_addrs::IfOperStatus::Down;
        assert!(!reaches_others(&down));
    }

    #[test]
    fn reports_agree_with_what_discovery_uses() {
        let reports = interface_reports().unwrap();
        assert!(reports.iter().all(|r| !r.ip.is_loopback() || !r.is_usable));
        let names = |works: bool| -> BTreeSet<&str> {
            reports.iter().filter(|r| r.multicast.is_ok() == works).map(|r| r.name.as_str()).collect()
        };
        if let Ok(usable) = multicast_available() {
            assert!(usable.iter().all(|name| names(true).contains(name.as_str())));
        }
    }

    #[test]
    fn multicast_is_either_available_somewhere_or_explained() {
        match multicast_available() {
            Ok(names) => {
                let up: BTreeSet<String> = usable_interfaces().into_iter().map(|i| i.name).collect();
                assert!(!names.is_empty());
                assert!(names.iter().all(|name| up.contains(name)), "{names:?} are among {up:?}");
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}
