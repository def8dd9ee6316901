//! TCFG: which transports an instance uses, and changing them while it runs. Real sockets on loopback.

use std::collections::BTreeMap;
use std::time::Duration;

use ditto::{ErrorKind, TransportConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{DATABASE, connect, execute, listen, peer, peer_with, rows, sees, until};

type Change = Box<dyn Fn(&mut TransportConfig)>;

/// The end of a chain of builders.
fn done(_config: &mut TransportConfig) {}

/// What is wrong with a config that a change makes.
fn refusal(change: impl FnOnce(&mut TransportConfig)) -> String {
    let mut config = TransportConfig::new();
    change(&mut config);
    let e = config.validate().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidConfig);
    e.reason().to_owned()
}

/// The head and the body of the answer to a request of one line.
async fn request(address: std::net::SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn api_222_to_227_and_239_to_275_a_fresh_value_has_everything_off_and_these_defaults_and_keys() {
    let fresh = TransportConfig::new();
    let keys: serde_json::Value = serde_json::from_str(&fresh.to_json().unwrap()).unwrap();
    let expected = json!({
        "peer_to_peer": {
            "bluetooth_le": { "enabled": false },
            "lan": { "enabled": false, "mdns_enabled": true, "multicast_enabled": true },
            "awdl": { "enabled": false },
            "wifi_aware": { "enabled": false },
        },
        "connect": { "tcp_servers": [], "websocket_urls": [], "retry_interval": 5000 },
        "listen": {
            "tcp": { "enabled": false, "interface_ip": "[::]", "port": 4040 },
            "http": { "enabled": false, "interface_ip": "[::]", "port": 80, "websocket_sync": false },
        },
        "global": { "sync_group": 0, "routing_hint": 0 },
    });
    assert_eq!(keys, expected);
    assert_eq!(fresh, TransportConfig::default());
    assert_eq!(TransportConfig::from_json("{}").unwrap(), fresh);
}

#[test]
fn api_228_to_237_builders_set_their_fields() {
    let mut c = TransportConfig::new();
    c.add_tcp_server("a:1").add_tcp_server("[::1]:2").add_tcp_server("a:1");
    assert_eq!(c.connect.tcp_servers.iter().collect::<Vec<_>>(), ["[::1]:2", "a:1"]);
    c.add_websocket_url("wss://a").add_websocket_url("ws://b/c");
    assert_eq!(c.connect.websocket_urls.len(), 2);
    c.set_websocket_urls(["wss://d"]);
    assert_eq!(c.connect.websocket_urls.iter().collect::<Vec<_>>(), ["wss://d"]);
    c.enable_http_listen("127.0.0.1", 8080, true)
        .set_http_tls("c.pem", "k.pem")
        .set_static_content_path("web");
    c.enable_tcp_listen("[::1]", 7).set_sync_group(u32::MAX).set_routing_hint(9);
    let http = &c.listen.http;
    assert!(http.enabled && http.websocket_sync && http.port == 8080 && http.interface_ip == "127.0.0.1");
    assert_eq!(http.tls_certificate_path.as_deref(), Some("c.pem".as_ref()));
    assert_eq!(http.tls_key_path.as_deref(), Some("k.pem".as_ref()));
    assert_eq!(http.static_content_path.as_deref(), Some("web".as_ref()));
    assert!(c.listen.tcp.enabled && c.listen.tcp.port == 7 && c.listen.tcp.interface_ip == "[::1]");
    assert_eq!((c.global.sync_group, c.global.routing_hint), (u32::MAX, 9));
    c.validate().unwrap();

    c.enable_all_peer_to_peer();
    let p2p = &c.peer_to_peer;
    assert!(p2p.bluetooth_le.enabled && p2p.lan.enabled && p2p.lan.mdns_enabled && p2p.lan.multicast_enabled);
    assert_eq!(p2p.awdl.enabled, cfg!(target_vendor = "apple"));
    assert_eq!(p2p.wifi_aware.enabled, cfg!(target_os = "android"));
    c.disable_all_peer_to_peer();
    let p2p = &c.peer_to_peer;
    assert!(!p2p.bluetooth_le.enabled && !p2p.lan.enabled && !p2p.awdl.enabled && !p2p.wifi_aware.enabled);
    assert_eq!(c.connect.tcp_servers.len(), 2, "servers remain");
}

#[test]
fn api_238_both_serialised_forms_round_trip_and_hostile_ones_are_refused() {
    let mut c = TransportConfig::new();
    c.enable_all_peer_to_peer().add_tcp_server("a:1").add_websocket_url("wss://b/").set_sync_group(3);
    c.enable_http_listen("::", 0, true)
        .set_http_tls("c", "k")
        .set_static_content_path("s")
        .set_routing_hint(4);
    c.connect.retry_interval = Duration::from_millis(1500);
    assert_eq!(TransportConfig::from_json(&c.to_json().unwrap()).unwrap(), c);
    let cbor = c.to_cbor().unwrap();
    assert_eq!(TransportConfig::from_cbor(&cbor).unwrap(), c);

    // Keys of a later release are ignored.
    let later = TransportConfig::from_json(r#"{"global":{"sync_group":5,"new":{"a":[1]}},"newer":true}"#);
    assert_eq!(later.unwrap().global.sync_group, 5);
    let kind = |text: &str| TransportConfig::from_json(text).unwrap_err().kind();
    assert_eq!(kind("{"), ErrorKind::InvalidJson);
    assert_eq!(kind(r#"{"global":{"sync_group":-1}}"#), ErrorKind::InvalidConfig);
    assert_eq!(kind(r#"{"connect":{"retry_interval":0}}"#), ErrorKind::InvalidConfig);
    assert_eq!(kind(&" ".repeat((1 << 20) + 1)), ErrorKind::SizeLimitExceeded);
    let cbor_kind = |bytes: &[u8]| TransportConfig::from_cbor(bytes).unwrap_err().kind();
    for cut in 0..cbor.len() {
        assert_eq!(cbor_kind(&cbor[..cut]), ErrorKind::InvalidCbor, "cut at {cut}");
    }
    assert_eq!(cbor_kind(&[&cbor[..], &[0]].concat()), ErrorKind::InvalidCbor);
    // An array that says it has 2^60 members.
    assert_eq!(cbor_kind(&[0xa1, 0x61, b'x', 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]), ErrorKind::InvalidCbor);
}

#[test]
fn api_228_229_257_266_274_275_values_that_cannot_work_are_refused_by_name() {
    for bad in
        ["", "host", "host:", ":1", "host:0", "host:65536", "a b:1", "::1:80", "[::1", "http://a:1", "[x]:1"]
    {
        assert!(refusal(|c| done(c.add_tcp_server(bad))).starts_with("connect.tcp_servers"), "{bad:?}");
    }
    for bad in ["", "a", "http://a", "wss://", "ws://u:p@a", "ws://a:0"] {
        assert!(refusal(|c| done(c.add_websocket_url(bad))).starts_with("connect.websocket_urls"), "{bad:?}");
    }
    for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(refusal(|c| done(c.add_extra_root(bad))).starts_with("connect.extra_roots"), "{bad:?}");
    }
    assert!(!refusal(|c| done(c.add_websocket_url("http://a/?token=secret"))).contains("secret"));
    for bad in [Duration::ZERO, Duration::from_millis(99), Duration::from_secs(86_401), Duration::MAX] {
        assert!(refusal(|c| c.connect.retry_interval = bad).starts_with("connect.retry_interval"), "{bad:?}");
    }
    for bad in ["", "localhost", "[127.0.0.1]", "256.0.0.1", "[[::]]"] {
        assert!(
            refusal(|c| done(c.enable_tcp_listen(bad, 0))).starts_with("listen.tcp.interface_ip"),
            "{bad:?}"
        );
        let http = refusal(|c| done(c.enable_http_listen(bad, 0, true)));
        assert!(http.starts_with("listen.http.interface_ip"), "{bad:?}");
    }
    assert!(
        refusal(|c| c.listen.http.tls_key_path = Some("k".into()))
            .starts_with("listen.http.tls_certificate_path")
    );
    assert!(
        refusal(|c| c.listen.http.tls_certificate_path = Some("c".into()))
            .starts_with("listen.http.tls_key_path")
    );
    assert!(refusal(|c| done(c.set_static_content_path(""))).starts_with("listen.http.static_content_path"));
    let many = refusal(|c| c.connect.tcp_servers = (0..257).map(|i| format!("h{i}:1")).collect());
    assert!(many.starts_with("connect.tcp_servers"), "{many}");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_276_277_snapshots_are_copies_and_refused_changes_change_nothing() {
    let p = peer().await;
    let before = p.ditto.transport_config();
    p.ditto.transport_config().add_tcp_server("ignored:1");
    assert_eq!(p.ditto.transport_config(), before);
    let address = listen(&p.ditto).await;
    let running = p.ditto.transport_config();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let changes: [(ErrorKind, &str, Change); 5] = [
        (ErrorKind::InvalidConfig, "connect.tcp_servers", Box::new(|c| done(c.add_tcp_server("x")))),
        (
            ErrorKind::IoAlreadyExists,
            "listen.tcp",
            Box::new(move |c| done(c.set_sync_group(9).enable_tcp_listen("127.0.0.1", port))),
        ),
        (
            ErrorKind::IoAlreadyExists,
            "listen.http",
            Box::new(move |c| {
                done(c.enable_tcp_listen("::1", 0).enable_http_listen("127.0.0.1", port, true))
            }),
        ),
        (
            ErrorKind::InvalidConfig,
            "listen.http.static_content_path",
            Box::new(|c| {
                done(c.enable_http_listen("127.0.0.1", 0, true).set_static_content_path("/no/such"))
            }),
        ),
        (
            ErrorKind::InvalidConfig,
            "listen.http.tls_certificate_path",
            Box::new(|c| done(c.enable_http_listen("127.0.0.1", 0, true).set_http_tls("/no/such", "/nor"))),
        ),
    ];
    for (kind, field, change) in changes {
        let e = p.ditto.update_transport_config(change).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        assert!(e.reason().starts_with(field), "{e}");
        assert_eq!(p.ditto.transport_config(), running);
        assert_eq!(p.ditto.sync().listen_address().unwrap().to_string(), address);
        assert_eq!(p.ditto.sync().http_listen_address(), None);
    }
    p.ditto.set_transport_config(TransportConfig::new()).await.unwrap();
    assert_eq!(p.ditto.transport_config(), TransportConfig::new());
    assert_eq!(p.ditto.sync().listen_address(), None);
    p.ditto.close().await.unwrap();
    let closed = p.ditto.set_transport_config(before).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_278_only_what_changed_restarts_and_other_connections_survive() {
    let (a, b) = (peer().await, peer().await);
    let mut ups = a.ditto.sync().events();
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    until("connected", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
    // Everything but the way to the peer changes, one thing after another.
    let changes: [Change; 6] = [
        Box::new(|c| done(c.enable_http_listen("127.0.0.1", 0, true))),
        Box::new(|c| c.connect.retry_interval = Duration::from_millis(700)),
        Box::new(|c| done(c.set_routing_hint(3).add_tcp_server("127.0.0.1:1"))),
        Box::new(|c| done(c.enable_http_listen("::1", 0, false))),
        Box::new(|c| done(c.enable_tcp_listen("::1", 0))),
        Box::new(|c| {
            c.listen.http.enabled = false;
            c.listen.tcp.enabled = false;
        }),
    ];
    for change in changes {
        a.ditto.update_transport_config(&change).await.unwrap();
        // Data still goes over the connection that there was.
        assert!(sees(&a.ditto, &b.ditto));
    }
    a.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    execute(&b.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1})").await;
    rows(&a.ditto, "SELECT * FROM c", &[r#"{"_id":1}"#]).await;
    let mut connected = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(50), ups.next()).await {
        match event {
            ditto::MeshEvent::PeerConnected { .. } => connected += 1,
            ditto::MeshEvent::PeerDisconnected { reason, .. } => panic!("disconnected: {reason}"),
            _ => {}
        }
    }
    assert_eq!(connected, 1);
    // Taking the address out ends the connection.
    b.ditto.update_transport_config(|c| c.connect.tcp_servers.clear()).await.unwrap();
    until("disconnected", || !sees(&a.ditto, &b.ditto) && !sees(&b.ditto, &a.ditto)).await;
    a.ditto.close().await.unwrap();
    b.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_233_256_272_peers_sync_over_websockets() {
    let (a, b) = (peer().await, peer().await);
    a.ditto.update_transport_config(|c| done(c.enable_http_listen("127.0.0.1", 0, true))).await.unwrap();
    a.ditto.sync().start().await.unwrap();
    let url = format!("ws://{}/sync", a.ditto.sync().http_listen_address().unwrap());
    b.ditto.sync().start().await.unwrap();
    b.ditto.update_transport_config(|c| done(c.add_websocket_url(&url))).await.unwrap();
    b.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1})").await;
    rows(&b.ditto, "SELECT * FROM c", &[r#"{"_id":1}"#]).await;
    let kinds: BTreeMap<_, _> = b
        .ditto
        .presence()
        .graph()
        .local_peer
        .connections
        .iter()
        .map(|c| (c.connection_type.to_string(), ()))
        .collect();
    assert_eq!(kinds.keys().collect::<Vec<_>>(), ["WebSocket"]);
    b.ditto.update_transport_config(|c| done(c.set_websocket_urls([""; 0]))).await.unwrap();
    until("disconnected", || !sees(&a.ditto, &b.ditto)).await;
    a.ditto.close().await.unwrap();
    b.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_236_273_static_content_is_served_and_nothing_else() {
    let p = peer().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    let web = folder.path().join("web");
    std::fs::create_dir_all(web.join("sub")).unwrap();
    for (name, text) in
        [("index.html", "<h1>hi</h1>"), ("a.css", "b{}"), (".hidden", "no"), ("sub/x.json", "{}")]
    {
        std::fs::write(web.join(name), text).unwrap();
    }
    p.ditto
        .update_transport_config(|c| {
            c.enable_http_listen("127.0.0.1", 0, false).set_static_content_path(&web);
        })
        .await
        .unwrap();
    p.ditto.sync().start().await.unwrap();
    let address = p.ditto.sync().http_listen_address().unwrap();
    for (line, status, kind, body) in [
        ("GET /", "200", "text/html", "<h1>hi</h1>"),
        ("GET /a.css", "200", "text/css", "b{}"),
        ("GET /sub/x.json", "200", "application/json", "{}"),
        ("GET /nothing", "404", "", ""),
        ("GET /sub/", "404", "", ""),
        ("POST /a.css", "405", "", ""),
    ] {
        let answer = request(address, line).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
        assert!(answer.contains(kind) && answer.ends_with(body), "{line}: {answer}");
    }
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub/../../secret.txt",
        "/.hidden",
        "//etc/passwd",
        "/sub/%2e%2e/%2e%2e/secret.txt",
        "/%00",
    ] {
        let answer = request(address, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.contains("secret") && !answer.contains("root:"), "{path}: {answer}");
    }
    p.ditto.close().await.unwrap();
}

/// Waits until a peer has gone and come back, and says why it had gone.
async fn reconnected(events: &mut ditto::MeshEvents) -> String {
    let both = async {
        let mut gone = None;
        loop {
            match (events.next().await.unwrap(), &gone) {
                (ditto::MeshEvent::PeerDisconnected { reason, .. }, _) => gone = Some(reason),
                (ditto::MeshEvent::PeerConnected { .. }, Some(reason)) => return reason.clone(),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn api_237_259_a_new_sync_group_lets_go_of_those_who_are_not_configured() {
    let (a, b) = (peer().await, peer_with(DATABASE, None).await);
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    until("connected", || sees(&a.ditto, &b.ditto)).await;
    let (mut events, mut events_of_b) = (a.ditto.sync().events(), b.ditto.sync().events());
    // The side that has not dialled cannot know that it is configured there: the connection ends and comes back.
    a.ditto.update_transport_config(|c| done(c.set_sync_group(4))).await.unwrap();
    assert_eq!(reconnected(&mut events).await, "another sync group");
    reconnected(&mut events_of_b).await;
    // The side that has dialled keeps it.
    let mut events = b.ditto.sync().events();
    b.ditto.update_transport_config(|c| done(c.set_sync_group(5))).await.unwrap();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), events.next()).await {
        assert!(!matches!(event, ditto::MeshEvent::PeerDisconnected { .. }), "{event:?}");
    }
    a.ditto.close().await.unwrap();
    b.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_for_websockets() {
    let (a, b) = (peer().await, peer().await);
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issued = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let issued = issued.signed_by(&key, &root).unwrap();
    let (cert_file, key_file) = (a.directory.path().join("cert.pem"), a.directory.path().join("key.pem"));
    std::fs::write(&cert_file, issued.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let listen = |c: &mut TransportConfig| {
        c.enable_http_listen("127.0.0.1", 0, true).set_http_tls(&cert_file, &key_file);
    };
    a.ditto.update_transport_config(listen).await.unwrap();
    a.ditto.sync().start().await.unwrap();
    let url = format!("wss://{}/", a.ditto.sync().http_listen_address().unwrap());
    let mut events = b.ditto.connection_events();
    b.ditto.update_transport_config(|c| done(c.add_websocket_url(&url))).await.unwrap();
    b.ditto.sync().start().await.unwrap();
    let refused = async {
        loop {
            let event = events.next().await.unwrap().event;
            if event.name() == "dial_failed" {
                return event.to_string();
            }
        }
    };
    let refused = tokio::time::timeout(crate::fixture::PATIENCE, refused).await.unwrap();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    // Live, and in the form that is stored.
    let mut config = b.ditto.transport_config();
    config.add_extra_root(root.pem());
    let stored = config.to_json().unwrap();
    assert_eq!(TransportConfig::from_cbor(&config.to_cbor().unwrap()).unwrap(), config);
    b.ditto.set_transport_config(TransportConfig::from_json(&stored).unwrap()).await.unwrap();
    until("connected", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
}
