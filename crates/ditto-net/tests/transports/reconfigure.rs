//! Changing a transport while it runs.

use std::time::{Duration, Instant};

use ditto_mesh::transport::{DialTarget, LinkId, NetEvent, Transport};
use ditto_net::{Net, NetConfig, NetError};
use tokio::net::{TcpListener, TcpStream};

use crate::probe::{PATIENCE, Probe};

fn tcp(address: &str) -> NetConfig {
    NetConfig { listen: Some(address.to_owned()), ..NetConfig::default() }
}

async fn start(config: NetConfig) -> (Net, Probe) {
    let (sender, probe) = Probe::new(64);
    (Net::start(config, sender).await.unwrap(), probe)
}

async fn until_refused(address: std::net::SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "{address} still accepts");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_moves_and_its_links_stay() {
    let (a, mut a_probe) = start(NetConfig::default()).await;
    let (b, mut b_probe) = start(tcp("127.0.0.1:0")).await;
    let before = b.listen_addr().unwrap();
    a.dial(LinkId(1), &DialTarget::Tcp(before.to_string()));
    a_probe.up().await;
    let accepted = b_probe.up().await;

    // The same again is no change, whatever the port was.
    b.reconfigure(tcp("127.0.0.1:0")).await.unwrap();
    assert_eq!(b.listen_addr(), Some(before));
    b.reconfigure(tcp("[::1]:0")).await.unwrap();
    let after = b.listen_addr().unwrap();
    assert!(after.is_ipv6());
    let listening = NetEvent::Listening { addr: after.to_string() };
    b_probe.find("the new address", |e| (*e == listening).then_some(())).await;
    until_refused(before).await;
    a.dial(LinkId(2), &DialTarget::Tcp(after.to_string()));
    a_probe.up().await;
    b_probe.up().await;
    b.reconfigure(NetConfig::default()).await.unwrap();
    assert_eq!(b.listen_addr(), None);
    until_refused(after).await;

    a.write(LinkId(1), b"still here".to_vec());
    assert_eq!(b_probe.bytes(accepted, 10).await, b"still here");
    assert_eq!(b.stats().links, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_changes_nothing() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let (b, mut probe) = start(tcp("127.0.0.1:0")).await;
    let before = b.listen_addr().unwrap();
    match b.reconfigure(tcp(&taken)).await {
        Err(NetError::Listen { listener: "TCP", address, source }) => {
            assert_eq!(address, taken);
            assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(b.listen_addr(), Some(before));
    let _stream = TcpStream::connect(before).await.unwrap();
    probe.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_port_can_move_to_another_interface() {
    let (b, mut probe) = start(tcp("127.0.0.1:0")).await;
    let port = b.listen_addr().unwrap().port();
    // Every address includes the old one, so the old listener has to go first.
    b.reconfigure(tcp(&format!("0.0.0.0:{port}"))).await.unwrap();
    assert_eq!(b.listen_addr().unwrap().to_string(), format!("0.0.0.0:{port}"));
    let _stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    probe.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_fails_half_way_restores_the_old_listener() {
    let (b, mut probe) = start(tcp("127.0.0.1:0")).await;
    let before = b.listen_addr().unwrap();
    // Another address of loopback with the same port is taken, so that every address is not free either.
    let _other = TcpListener::bind(("127.0.0.2", before.port())).await.unwrap();
    let moved = b.reconfigure(tcp(&format!("0.0.0.0:{}", before.port()))).await;
    assert!(matches!(moved, Err(NetError::Listen { .. })), "{moved:?}");
    assert_eq!(b.listen_addr(), Some(before));
    let _stream = TcpStream::connect(before).await.unwrap();
    probe.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_need_nobody_who_takes_events() {
    let (sender, _probe) = Probe::new(1);
    let b = Net::start(tcp("127.0.0.1:0"), sender).await.unwrap();
    for address in ["[::1]:0", "127.0.0.1:0", "[::1]:0", "127.0.0.1:0"] {
        b.reconfigure(tcp(address)).await.unwrap();
    }
    b.reconfigure(NetConfig::default()).await.unwrap();
    b.shutdown().await;
    assert_eq!(b.stats(), ditto_net::NetStats::default());
}
