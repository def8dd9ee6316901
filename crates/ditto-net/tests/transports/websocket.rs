//! WebSocket links over loopback, plain and with TLS, and what is refused.

use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, LinkKind, NetEvent, Role, Transport};
use ditto_net::{HttpConfig, Net, NetConfig, NetStats, TlsFiles};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::probe::{PATIENCE, Probe, pattern};

pub(crate) fn http() -> HttpConfig {
    HttpConfig { address: "127.0.0.1:0".to_owned(), websocket: true, static_content: None, tls: None }
}

pub(crate) async fn start(config: NetConfig, capacity: usize) -> (Net, Probe) {
    let (sender, probe) = Probe::new(capacity);
    (Net::start(config, sender).await.unwrap(), probe)
}

pub(crate) async fn serve(http: HttpConfig, capacity: usize) -> (Net, Probe) {
    start(NetConfig { http: Some(http), ..NetConfig::default() }, capacity).await
}

fn url(net: &Net, path: &str) -> DialTarget {
    DialTarget::WebSocket(format!("ws://{}{path}", net.http_addr().unwrap()))
}

async fn linked(capacity: usize) -> (Net, Probe, Net, Probe, LinkId) {
    let (a, mut a_probe) = start(NetConfig::default(), capacity).await;
    let (b, mut b_probe) = serve(http(), capacity).await;
    a.dial(LinkId(1), &url(&b, "/any/path?x=1"));
    assert_eq!(a_probe.up().await, LinkId(1));
    let accepted = b_probe.up().await;
    (a, a_probe, b, b_probe, accepted)
}

async fn until_idle(net: &Net, tasks: usize) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while net.stats() != (NetStats { links: 0, tasks, queued_bytes: 0 }) {
        assert!(std::time::Instant::now() < deadline, "left over: {:?}", net.stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A certificate for 127.0.0.1 in PEM files, and in the form that a client trusts.
pub(crate) fn certificate(folder: &std::path::Path) -> (TlsFiles, Vec<u8>) {
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().to_vec())
}

/// What somebody else's client sees.
async fn client(net: &Net) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let address = net.http_addr().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    tokio_tungstenite::client_async(format!("ws://{address}/"), stream).await.unwrap().0
}

/// The code with which the other side closes.
async fn close_code(socket: &mut tokio_tungstenite::WebSocketStream<TcpStream>) -> CloseCode {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("an answer in time") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code,
            Some(Ok(_)) => {}
            other => panic!("no close code: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_learn_of_the_link_and_of_each_other() {
    let (a, mut a_probe) = start(NetConfig::default(), 16).await;
    let (b, mut b_probe) = serve(http(), 16).await;
    let address = b.http_addr().unwrap();
    let listening = NetEvent::Listening { addr: format!("http://{address}") };
    assert_eq!(b_probe.next().await, listening);
    a.dial(LinkId(5), &url(&b, "/sync?token=secret"));
    let NetEvent::LinkUp { link, kind, role, remote } = a_probe.next().await else { panic!("no LinkUp") };
    assert_eq!((link, kind, role), (LinkId(5), LinkKind::WebSocket, Role::Dialer));
    assert_eq!(remote, format!("ws://{address}"), "without what may be secret");
    let NetEvent::LinkUp { kind, role, remote, .. } = b_probe.next().await else { panic!("no LinkUp") };
    assert_eq!((kind, role), (LinkKind::WebSocket, Role::Acceptor));
    assert!(remote.starts_with("127.0.0.1:"), "{remote}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_data_crosses_both_ways_at_once_and_every_byte_is_reported() {
    const LEN: usize = 6 * 1024 * 1024;
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
    async fn drain(probe: &mut Probe, data: &[u8]) {
        let (mut got, mut written) = (Vec::new(), 0);
        while got.len() < data.len() || written < data.len() {
            match probe.next().await {
                NetEvent::Bytes { bytes, .. } => {
                    assert!(!bytes.is_empty() && bytes.len() <= 64 * 1024);
                    got.extend_from_slice(&bytes);
                }
                NetEvent::Written { bytes, .. } => written += bytes,
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(written, data.len());
        assert!(got == data, "the bytes arrive as they were written");
    }
    tokio::join!(drain(&mut a_probe, &data), drain(&mut b_probe, &data));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stops_reading_holds_the_sender_back() {
    const LEN: usize = 48 * 1024 * 1024;
    let (a, mut a_probe, _b, mut b_probe, accepted) = linked(4).await;
    a.write(LinkId(1), vec![7; LEN]);
    let mut written = 0;
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(700), a_probe.events.recv()).await {
        if let Some(NetEvent::Written { bytes, .. }) = event {
            written += bytes;
        }
    }
    assert!(written < LEN / 2, "{written} bytes left although nobody reads");
    tokio::spawn(async move { while a_probe.events.recv().await.is_some() {} });
    assert_eq!(b_probe.bytes(accepted, LEN).await.len(), LEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_comes_after_the_last_bytes_and_leaves_nothing() {
    for closed_by_dialler in [true, false] {
        let (a, mut a_probe, b, mut b_probe, accepted) = linked(8).await;
        let data = pattern(1_000_000);
        if closed_by_dialler {
            a.write(LinkId(1), data.clone());
            a.close(LinkId(1));
            assert!(b_probe.bytes(accepted, data.len()).await == data);
            assert_eq!(b_probe.down(accepted).await, "closed by the other side");
            assert_eq!(a_probe.down(LinkId(1)).await, "closed here");
        } else {
            b.write(accepted, data.clone());
            b.close(accepted);
            assert!(a_probe.bytes(LinkId(1), data.len()).await == data);
            assert_eq!(a_probe.down(LinkId(1)).await, "closed by the other side");
            assert_eq!(b_probe.down(accepted).await, "closed here");
        }
        until_idle(&a, 0).await;
        until_idle(&b, 1).await;
        b.shutdown().await;
        assert_eq!(b.stats(), NetStats::default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_needs_a_certificate_that_is_trusted_and_of_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let (files, root) = certificate(folder.path());
    let (b, mut b_probe) = serve(HttpConfig { tls: Some(files), ..http() }, 16).await;
    let address = b.http_addr().unwrap();
    let listening = NetEvent::Listening { addr: format!("https://{address}") };
    assert_eq!(b_probe.next().await, listening);
    let trusting = NetConfig { extra_roots: vec![root], ..NetConfig::default() };
    let (a, mut a_probe) = start(trusting, 16).await;
    a.dial(LinkId(1), &DialTarget::WebSocket(format!("wss://{address}/")));
    assert_eq!(a_probe.up().await, LinkId(1));
    let accepted = b_probe.up().await;
    let data = pattern(300_000);
    a.write(LinkId(1), data.clone());
    assert!(b_probe.bytes(accepted, data.len()).await == data);

    a.dial(LinkId(2), &DialTarget::WebSocket(format!("wss://127.0.0.2:{}/", address.port())));
    a.dial(LinkId(3), &DialTarget::WebSocket(format!("ws://{address}/")));
    let (stranger, mut stranger_probe) = start(NetConfig::default(), 16).await;
    stranger.dial(LinkId(4), &DialTarget::WebSocket(format!("wss://{address}/")));
    let reason = stranger_probe.dial_failed(LinkId(4)).await;
    assert!(reason.contains("UnknownIssuer") || reason.contains("certificate"), "{reason}");
    // In whichever order.
    let mut failed = Vec::new();
    while failed.len() < 2 {
        let pick = |e: &NetEvent| if let NetEvent::DialFailed { link, .. } = e { Some(*link) } else { None };
        failed.push(a_probe.find("DialFailed", pick).await);
    }
    failed.sort();
    assert_eq!(failed, [LinkId(2), LinkId(3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_that_lead_to_no_websocket_fail() {
    let (a, mut probe) = start(NetConfig::default(), 16).await;
    let (no_sync, _events) = serve(HttpConfig { websocket: false, ..http() }, 16).await;
    a.dial(LinkId(1), &url(&no_sync, "/"));
    assert!(probe.dial_failed(LinkId(1)).await.contains("404"));
    // A server that says something else than HTTP, and one that says nothing.
    let garbage = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = garbage.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = garbage.accept().await.unwrap();
        let _ = stream.write_all(&[0xff; 4096]).await;
        let _silent = garbage.accept().await.unwrap();
        std::future::pending::<()>().await;
    });
    a.dial(LinkId(2), &DialTarget::WebSocket(format!("ws://{address}/")));
    assert!(probe.dial_failed(LinkId(2)).await.contains("handshake"));
    a.dial(LinkId(3), &DialTarget::WebSocket(format!("ws://{address}/")));
    assert!(probe.dial_failed(LinkId(3)).await.contains("no answer within 10 s"));
    a.dial(LinkId(4), &DialTarget::WebSocket("ftp://x".to_owned()));
    assert!(probe.dial_failed(LinkId(4)).await.contains("scheme"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routing_hint_is_sent_and_follows_changes() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = DialTarget::WebSocket(format!("ws://{}/", server.local_addr().unwrap()));
    let (a, _probe) = start(NetConfig { routing_hint: 7, ..NetConfig::default() }, 64).await;
    for (link, hint) in [(1, Some(7)), (2, Some(4_294_967_295)), (3, None)] {
        a.reconfigure(NetConfig { routing_hint: hint.unwrap_or(0), ..NetConfig::default() }).await.unwrap();
        a.dial(LinkId(link), &target);
        let (mut stream, _) = server.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let line = head.lines().find_map(|l| l.strip_prefix("x-ditto-routing-hint: "));
        assert_eq!(line, hint.map(|h| h.to_string()).as_deref());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_binary_or_too_long_is_refused_with_a_code() {
    let (b, mut probe) = serve(http(), 64).await;
    let oversize = Message::Binary(Bytes::from(vec![0; 200 * 1024]));
    for (message, code) in [(Message::text("hello"), CloseCode::Unsupported), (oversize, CloseCode::Size)] {
        let mut socket = client(&b).await;
        let link = probe.up().await;
        socket.send(message).await.unwrap();
        assert_eq!(close_code(&mut socket).await, code);
        probe.down(link).await;
    }
    // A frame that says it has 2^62 bytes is refused before any of them; a reserved kind of frame as well.
    for (head, code) in [
        (&[0x82u8, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4][..], CloseCode::Size),
        (&[0x83, 0x81, 1, 2, 3, 4, 5], CloseCode::Protocol),
        (&[0x82, 0x05, b'p', b'l', b'a', b'i', b'n'], CloseCode::Protocol),
    ] {
        let mut socket = client(&b).await;
        let link = probe.up().await;
        socket.get_mut().write_all(head).await.unwrap();
        assert_eq!(close_code(&mut socket).await, code, "{head:?}");
        probe.down(link).await;
    }
    until_idle(&b, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_messages_pings_and_half_frames_are_taken() {
    let (b, mut probe) = serve(http(), 64).await;
    let mut socket = client(&b).await;
    let link = probe.up().await;
    // One message in three frames with a ping between them, in single bytes.
    let frames = [
        &[0x02u8, 0x81, 0, 0, 0, 0, b'a'][..],
        &[0x89, 0x80, 0, 0, 0, 0],
        &[0x00, 0x81, 0, 0, 0, 0, b'b'],
        &[0x80, 0x81, 0, 0, 0, 0, b'c'],
    ]
    .concat();
    for byte in frames {
        socket.get_mut().write_all(&[byte]).await.unwrap();
    }
    assert_eq!(probe.bytes(link, 3).await, b"abc");
    let pong = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))), "{pong:?}");
    // Half a frame, then the end of the connection: one LinkDown and no bytes.
    socket.get_mut().write_all(&[0x82, 0x84, 0, 0, 0, 0, b'x']).await.unwrap();
    drop(socket);
    let reason = probe.down(link).await;
    assert!(!reason.is_empty());
    until_idle(&b, 1).await;
}
