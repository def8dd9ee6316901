//! TCP links over loopback.

use std::time::{Duration, Instant};

use crate::probe::{PATIENCE, Probe, pattern};
use ditto_mesh::transport::{ACCEPTED_LINK_BIT, DialTarget, LinkId, LinkKind, NetEvent, Role, Transport};
use ditto_net::{Net, NetConfig, NetError, NetStats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn start(listen: Option<&str>, capacity: usize) -> (Net, Probe) {
    let (sender, probe) = Probe::new(capacity);
    let config = NetConfig { listen: listen.map(str::to_owned), ..NetConfig::default() };
    (Net::start(config, sender).await.unwrap(), probe)
}

fn target(net: &Net) -> DialTarget {
    DialTarget::Tcp(net.listen_addr().unwrap().to_string())
}

/// Two nets with one link between them, named `LinkId(1)` on the side that dialled.
async fn linked(capacity: usize) -> (Net, Probe, Net, Probe, LinkId) {
    let (a, mut a_probe) = start(None, capacity).await;
    let (b, mut b_probe) = start(Some("127.0.0.1:0"), capacity).await;
    a.dial(LinkId(1), &target(&b));
    assert_eq!(a_probe.up().await, LinkId(1));
    let accepted = b_probe.up().await;
    (a, a_probe, b, b_probe, accepted)
}

async fn until_idle(net: &Net, tasks: usize) {
    let deadline = Instant::now() + PATIENCE;
    while net.stats() != (NetStats { links: 0, tasks, queued_bytes: 0 }) {
        assert!(Instant::now() < deadline, "left over: {:?}", net.stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_learn_of_the_link_and_of_each_other() {
    let (a, mut a_probe) = start(None, 64).await;
    let (b, mut b_probe) = start(Some("127.0.0.1:0"), 64).await;
    let listening = b_probe.next().await;
    assert_eq!(listening, NetEvent::Listening { addr: b.listen_addr().unwrap().to_string() });
    assert_ne!(b.listen_addr().unwrap().port(), 0);
    a.dial(LinkId(5), &target(&b));
    let NetEvent::LinkUp { link, kind, role, remote } = a_probe.next().await else { panic!("no LinkUp") };
    assert_eq!((link, kind, role), (LinkId(5), LinkKind::AccessPoint, Role::Dialer));
    assert_eq!(remote, b.listen_addr().unwrap().to_string());
    let NetEvent::LinkUp { link, kind, role, remote } = b_probe.next().await else { panic!("no LinkUp") };
    assert_ne!(link.0 & ACCEPTED_LINK_BIT, 0);
    assert_eq!((kind, role), (LinkKind::AccessPoint, Role::Acceptor));
    assert!(remote.starts_with("127.0.0.1:"), "{remote}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_data_crosses_both_ways_at_once_and_every_byte_is_reported() {
    const LEN: usize = 12 * 1024 * 1024;
    let (a, mut a_probe, b, mut b_probe, accepted) = linked(4).await;
    let data = pattern(LEN);
    let mut sizes = [1usize, 0, 7, 1400, 65_536, 300_000, 3].iter().cycle();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        a.write(LinkId(1), piece.to_vec());
        b.write(accepted, piece.to_vec());
        rest = after;
    }
    async fn drain(probe: &mut Probe, link: LinkId, data: &[u8]) {
        let (mut got, mut written) = (Vec::new(), 0);
        while got.len() < data.len() || written < data.len() {
            match probe.next().await {
                NetEvent::Bytes { link: l, bytes } => {
                    assert_eq!(l, link);
                    assert!(!bytes.is_empty() && bytes.len() <= 64 * 1024);
                    got.extend_from_slice(&bytes);
                }
                NetEvent::Written { link: l, bytes } => {
                    assert_eq!(l, link);
                    written += bytes;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(written, data.len());
        assert!(got == data, "the bytes arrive as they were written");
    }
    tokio::join!(drain(&mut a_probe, LinkId(1), &data), drain(&mut b_probe, accepted, &data));
    assert_eq!(a.stats().queued_bytes + b.stats().queued_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_in_place_and_by_the_task_arrives_in_order_and_is_counted_once() {
    let (a, mut a_probe, b, mut b_probe, accepted) = linked(4).await;
    let data = pattern(40 * 1024 * 1024);
    // An empty write is none.
    assert_eq!(a.write_now(LinkId(1), Vec::new()), 0);
    let (mut at_once, mut waited) = (0, 0);
    let mut sizes = [65_536usize, 1, 300_000, 1400].iter().cycle();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        let taken = a.write_now(LinkId(1), piece.to_vec());
        assert!(taken <= piece.len());
        at_once += taken;
        waited += piece.len() - taken;
        rest = after;
    }
    // The socket was full long before, and then all goes through the task.
    assert!(at_once > 0 && waited > 0, "{at_once} bytes at once, {waited} later");
    let written = tokio::spawn(async move {
        let mut written = 0;
        while written < waited {
            if let NetEvent::Written { bytes, .. } = a_probe.next().await {
                written += bytes;
            }
        }
        (written, a_probe)
    });
    assert!(b_probe.bytes(accepted, data.len()).await == data, "the bytes arrive as they were written");
    let (written, mut a_probe) = written.await.unwrap();
    assert_eq!(written, waited);
    assert_eq!(a.stats().queued_bytes, 0);
    // A link that was closed sends what it has taken.
    assert_eq!(a.write_now(LinkId(1), b"bye".to_vec()), 3);
    a.close(LinkId(1));
    assert_eq!(a.write_now(LinkId(1), b"late".to_vec()), 0);
    assert_eq!(b_probe.bytes(accepted, 3).await, b"bye");
    b_probe.down(accepted).await;
    a_probe.down(LinkId(1)).await;
    until_idle(&a, 0).await;
    drop(b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stops_reading_holds_the_sender_back() {
    const LEN: usize = 64 * 1024 * 1024;
    let (a, mut a_probe, _b, mut b_probe, accepted) = linked(4).await;
    a.write(LinkId(1), vec![7; LEN]);
    // What fits into the socket buffers leaves, then nothing more does.
    let mut written = 0;
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(700), a_probe.events.recv()).await {
        if let Some(NetEvent::Written { bytes, .. }) = event {
            written += bytes;
        }
    }
    assert!(written < LEN / 2, "{written} bytes left although nobody reads");
    assert!(a.stats().queued_bytes >= LEN / 2);
    tokio::spawn(async move { while a_probe.events.recv().await.is_some() {} });
    assert_eq!(b_probe.bytes(accepted, LEN).await.len(), LEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_fails_the_dial() {
    let (a, mut probe) = start(None, 16).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    a.dial(LinkId(1), &DialTarget::Tcp(address.clone()));
    let reason = probe.dial_failed(LinkId(1)).await;
    assert!(reason.contains(&address), "{reason}");
    until_idle(&a, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_are_no_address_fail_the_dial() {
    let (a, mut probe) = start(None, 16).await;
    for (i, bad) in ["no-such-host.invalid:1", "127.0.0.1", "", "127.0.0.1:99999"].iter().enumerate() {
        let link = LinkId(10 + i as u64);
        a.dial(link, &DialTarget::Tcp((*bad).to_owned()));
        let reason = probe.dial_failed(link).await;
        assert!(reason.contains("resolve") || reason.contains("no answer"), "{bad:?}: {reason}");
    }
    a.dial(LinkId(30), &DialTarget::Memory("x".to_owned()));
    assert!(probe.dial_failed(LinkId(30)).await.contains("memory://x"));
    a.dial(LinkId(ACCEPTED_LINK_BIT | 1), &DialTarget::Tcp("127.0.0.1:1".to_owned()));
    assert!(probe.dial_failed(LinkId(ACCEPTED_LINK_BIT | 1)).await.contains("reserved"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_address_times_out_and_can_be_cancelled() {
    // A listener whose backlog is full drops further SYNs, which is the silence of a dead address.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    let mut fillers = Vec::new();
    for _ in 0..8 {
        if let Ok(Ok(filler)) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(&address)).await
        {
            fillers.push(filler);
        }
    }
    let (a, mut probe) = start(None, 16).await;
    let began = Instant::now();
    a.dial(LinkId(1), &DialTarget::Tcp(address.clone()));
    a.dial(LinkId(2), &DialTarget::Tcp(address));
    tokio::time::sleep(Duration::from_millis(100)).await;
    a.close(LinkId(2));
    assert_eq!(probe.dial_failed(LinkId(2)).await, "closed here");
    let reason = probe.dial_failed(LinkId(1)).await;
    assert!(reason.contains("no answer within 10 s"), "{reason}");
    assert!(began.elapsed() >= Duration::from_secs(9));
    until_idle(&a, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_several_addresses_is_tried_through() {
    let (b, _b_probe) = start(Some("127.0.0.1:0"), 16).await;
    let (a, mut probe) = start(None, 16).await;
    // Where the name has an IPv6 address too, nobody listens there.
    a.dial(LinkId(1), &DialTarget::Tcp(format!("localhost:{}", b.listen_addr().unwrap().port())));
    assert_eq!(probe.up().await, LinkId(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv6_and_dual_stack_listeners_take_links() {
    let (a, mut probe) = start(None, 16).await;
    let (all, mut all_probe) = start(Some("[::]:0"), 16).await;
    let port = all.listen_addr().unwrap().port();
    a.dial(LinkId(1), &DialTarget::Tcp(format!("127.0.0.1:{port}")));
    probe.up().await;
    let remote = all_probe
        .find("LinkUp", |e| match e {
            NetEvent::LinkUp { remote, .. } => Some(remote.clone()),
            _ => None,
        })
        .await;
    assert!(remote.starts_with("127.0.0.1:"), "an IPv4 peer is shown as such: {remote}");
    if TcpListener::bind("[::1]:0").await.is_ok() {
        a.dial(LinkId(2), &DialTarget::Tcp(format!("[::1]:{port}")));
        probe.up().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_other_side_comes_after_its_last_bytes() {
    let (a, mut a_probe, b, mut b_probe, accepted) = linked(8).await;
    let data = pattern(3_000_000);
    b.write(accepted, data.clone());
    b.close(accepted);
    b.write(accepted, vec![1; 1000]);
    assert!(a_probe.bytes(LinkId(1), data.len()).await == data);
    assert_eq!(a_probe.down(LinkId(1)).await, "closed by the other side");
    assert_eq!(b_probe.down(accepted).await, "closed here");
    until_idle(&a, 0).await;
    until_idle(&b, 1).await;
    a.write(LinkId(1), vec![1]);
    a.close(LinkId(1));
    assert_eq!(a_probe.until_quiet(Duration::from_millis(200)).await, []);
    assert_eq!(b_probe.until_quiet(Duration::from_millis(200)).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_gives_exactly_one_link_down_and_ends_writing() {
    let (a, mut a_probe, _b, mut b_probe, accepted) = linked(64).await;
    a.write(LinkId(1), b"last words".to_vec());
    a.close(LinkId(1));
    a.close(LinkId(1));
    a.write(LinkId(1), b"too late".to_vec());
    let events = a_probe.until_quiet(Duration::from_millis(500)).await;
    let downs = events.iter().filter(|e| matches!(e, NetEvent::LinkDown { link: LinkId(1), .. })).count();
    assert_eq!(downs, 1, "{events:?}");
    assert!(matches!(events.last(), Some(NetEvent::LinkDown { .. })), "{events:?}");
    assert_eq!(b_probe.bytes(accepted, 10).await, b"last words");
    b_probe.down(accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_does_not_wait_for_a_peer_that_never_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (a, mut probe) = start(None, 64).await;
    a.dial(LinkId(1), &DialTarget::Tcp(listener.local_addr().unwrap().to_string()));
    let (_silent, _) = listener.accept().await.unwrap();
    probe.up().await;
    a.write(LinkId(1), vec![0; 64 * 1024 * 1024]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    a.close(LinkId(1));
    assert_eq!(probe.down(LinkId(1)).await, "closed here");
    until_idle(&a, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_connection_is_one_link_down() {
    let (b, mut probe) = start(Some("127.0.0.1:0"), 64).await;
    let stream = TcpStream::connect(b.listen_addr().unwrap()).await.unwrap();
    let link = probe.up().await;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert!(probe.down(link).await.starts_with("read: "));
    b.write(link, vec![1]);
    assert_eq!(probe.until_quiet(Duration::from_millis(200)).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_links_leave_nothing_behind() {
    const LINKS: u64 = 200;
    let (a, mut a_probe) = start(None, 64).await;
    let (b, mut b_probe) = start(Some("127.0.0.1:0"), 64).await;
    let address = target(&b);
    let echo = tokio::spawn(async move {
        let mut downs = 0;
        while downs < LINKS {
            match b_probe.next().await {
                NetEvent::Bytes { link, bytes } => b.write(link, bytes),
                NetEvent::LinkDown { .. } => downs += 1,
                _ => {}
            }
        }
        // With the probe dropped, nobody would listen to the net and it would end by itself.
        (b, b_probe)
    });
    for id in 1..=LINKS {
        a.dial(LinkId(id), &address);
    }
    let (mut closed, mut got) = (0, 0);
    while closed < LINKS {
        match a_probe.next().await {
            NetEvent::LinkUp { link, .. } => a.write(link, link.0.to_be_bytes().to_vec()),
            NetEvent::Bytes { link, bytes } => {
                got += bytes.len();
                a.close(link);
            }
            NetEvent::LinkDown { .. } => closed += 1,
            NetEvent::DialFailed { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    assert_eq!(got, LINKS as usize * 8);
    let (b, _b_probe) = echo.await.unwrap();
    until_idle(&a, 0).await;
    // Only the accept loop remains, and a shutdown ends that too.
    until_idle(&b, 1).await;
    b.shutdown().await;
    assert_eq!(b.stats(), NetStats::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_flushes_ends_every_task_and_frees_the_port() {
    let (a, mut a_probe, b, b_probe, accepted) = linked(64).await;
    let address = b.listen_addr().unwrap();
    b.write(accepted, b"goodbye".to_vec());
    // The consumer does not read while it waits for the end.
    b.shutdown().await;
    assert_eq!(b.stats(), NetStats::default());
    assert_eq!(a_probe.bytes(LinkId(1), 7).await, b"goodbye");
    a_probe.down(LinkId(1)).await;
    b.dial(LinkId(9), &DialTarget::Tcp(address.to_string()));
    b.write(accepted, vec![1]);
    b.close(accepted);
    b.shutdown().await;
    drop(b_probe);
    let (again, _probe) = start(Some(&address.to_string()), 16).await;
    assert_eq!(again.listen_addr(), Some(address));
    drop(a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_net_closes_its_links_and_its_listener() {
    let (_a, mut a_probe, b, _b_probe, _accepted) = linked(64).await;
    let address = b.listen_addr().unwrap();
    drop(b);
    assert_eq!(a_probe.down(LinkId(1)).await, "closed by the other side");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "the listener still accepts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_and_a_bad_address_are_errors() {
    let (b, _probe) = start(Some("127.0.0.1:0"), 16).await;
    let taken = b.listen_addr().unwrap().to_string();
    for (listen, is_taken) in [(taken.as_str(), true), ("nonsense", false), ("no-such-host.invalid:0", false)]
    {
        let (sender, _events) = Probe::new(4);
        let config = NetConfig { listen: Some(listen.to_owned()), ..NetConfig::default() };
        match Net::start(config, sender).await {
            Err(NetError::Listen { address, .. }) if is_taken => assert_eq!(address, taken),
            Err(NetError::ListenAddress { address, .. }) if !is_taken => assert_eq!(address, listen),
            Err(other) => panic!("{listen}: {other}"),
            Ok(_) => panic!("{listen} was accepted"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_sockets_see_plain_bytes() {
    let (b, mut probe) = start(Some("127.0.0.1:0"), 16).await;
    let mut stream = TcpStream::connect(b.listen_addr().unwrap()).await.unwrap();
    let link = probe.up().await;
    stream.write_all(b"in").await.unwrap();
    assert_eq!(probe.bytes(link, 2).await, b"in");
    b.write(link, b"out".to_vec());
    b.close(link);
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"out");
}
