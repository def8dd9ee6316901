//! Whole mesh machines over the loopback radio.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ditto_mesh::transport::{NetEvent, Transport};
use ditto_mesh::{Action, Admission, Identity, Input, Lane, Mesh, MeshConfig, PeerKey};
use ditto_net::platform::loopback::{LoopbackAir, LoopbackConfig};
use ditto_net::platform::{RadioKind, RadioShim};
use ditto_net::{Net, NetConfig};
use ditto_types::DatabaseId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::node::{PATIENCE, radio};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// One instance: machine, transport, and what it was told.
struct Instance {
    mesh: Mesh,
    key: PeerKey,
    net: Net,
    events: mpsc::Receiver<NetEvent>,
    peers: Vec<PeerKey>,
    received: BTreeMap<Lane, Vec<Vec<u8>>>,
    kinds: Vec<String>,
}

impl Instance {
    async fn start(number: u8, shim: Arc<dyn RadioShim>) -> Self {
        let identity = Arc::new(Identity::generate(&mut |out| out.fill(number)));
        let token = format!("t{number}");
        let mut config = MeshConfig::new(identity, DatabaseId::DEFAULT, [number; 16], [number; 8]);
        config.discovery_token.clone_from(&token);
        config.admission = Admission::SharedKey(vec![7; 32].into());
        let (sender, events) = mpsc::channel(64);
        let net_config = NetConfig { radios: vec![radio(shim, &token)], ..NetConfig::default() };
        let net = Net::start(net_config, sender).await.unwrap();
        let mut seed = u64::from(number);
        let random = Box::new(move |out: &mut [u8]| {
            for byte in out {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (seed >> 56) as u8;
            }
        });
        let mesh = Mesh::new(config, random);
        let key = mesh.peer_key();
        let mut this =
            Self { mesh, key, net, events, peers: Vec::new(), received: BTreeMap::new(), kinds: Vec::new() };
        this.input(Input::Start);
        this
    }

    fn input(&mut self, input: Input) {
        self.mesh.handle(input, now());
        while let Some(action) = self.mesh.poll() {
            match action {
                Action::Dial { link, target } => self.net.dial(link, &target),
                Action::Write { link, bytes } => self.net.write(link, bytes),
                Action::Close { link } => self.net.close(link),
                Action::PeerConnected(info) => {
                    self.kinds.push(info.link_kind.to_string());
                    self.peers.push(info.peer);
                }
                Action::PeerDisconnected { peer, .. } => self.peers.retain(|p| *p != peer),
                Action::Message { peer, lane, bytes } => {
                    let len = bytes.len();
                    self.received.entry(lane).or_default().push(bytes);
                    self.mesh.handle(Input::Consumed { peer, lane, bytes: len }, now());
                }
                _ => {}
            }
        }
    }
}

/// Lets both run until `done`.
async fn run(a: &mut Instance, b: &mut Instance, what: &str, done: impl Fn(&Instance, &Instance) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(a, b) {
        assert!(Instant::now() < end, "no {what} in time; {} and {} peers", a.peers.len(), b.peers.len());
        let tick = Instant::now() + std::time::Duration::from_millis(20);
        tokio::select! {
            Some(event) = a.events.recv() => a.input(Input::Net(event)),
            Some(event) = b.events.recv() => b.input(Input::Net(event)),
            () = sleep_until(tick) => {}
        }
        for side in [&mut *a, &mut *b] {
            if side.mesh.next_deadline().is_some_and(|due| due <= now()) {
                side.input(Input::Tick);
            }
        }
    }
}

fn message(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + number * 13) as u8).collect()
}

/// Connects two machines, carries messages both ways on two lanes, loses the link and goes on.
async fn meshes_sync(config: LoopbackConfig, count: usize, len: usize) {
    let air = LoopbackAir::new(config);
    let mut a = Instance::start(1, air.radio()).await;
    let mut b = Instance::start(2, air.radio()).await;
    let connected = |a: &Instance, b: &Instance| a.peers == [b.key] && b.peers == [a.key];
    for round in 1..=2 {
        run(&mut a, &mut b, "connection", connected).await;
        let (to_a, to_b) = (a.key, b.key);
        for number in 0..count {
            for lane in [Lane::SyncLive, Lane::SyncBulk] {
                let bytes = message(number, len);
                a.input(Input::Send { peer: to_b, lane, bytes: bytes.clone().into(), tag: 1 });
                b.input(Input::Send { peer: to_a, lane, bytes: bytes.into(), tag: 1 });
            }
        }
        let has_all = |side: &Instance| {
            [Lane::SyncLive, Lane::SyncBulk]
                .iter()
                .all(|lane| side.received.get(lane).is_some_and(|all| all.len() == count * round))
        };
        run(&mut a, &mut b, "messages", |a, b| has_all(a) && has_all(b)).await;
        if round == 1 {
            air.set_in_range(false);
            run(&mut a, &mut b, "disconnection", |a, b| a.peers.is_empty() && b.peers.is_empty()).await;
            air.set_in_range(true);
        }
    }
    let expected: Vec<Vec<u8>> = (0..2 * count).map(|i| message(i % count, len)).collect();
    for side in [&a, &b] {
        assert!(side.received.values().all(|all| *all == expected), "in order, whole, once");
        assert!(side.kinds.iter().all(|kind| kind == config.kind.link_kind().as_str()), "{:?}", side.kinds);
    }
    for side in [&mut a, &mut b] {
        side.input(Input::Stop);
        side.net.shutdown().await;
    }
    assert_eq!(air.open_handles(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_meshes_sync_over_a_stream_radio() {
    meshes_sync(LoopbackConfig::plain(RadioKind::L2cap), 20, 10_000).await;
    meshes_sync(LoopbackConfig::awkward(RadioKind::WifiAware, 21), 10, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_meshes_sync_over_a_packet_radio() {
    meshes_sync(LoopbackConfig::plain(RadioKind::Gatt), 10, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_meshes_sync_over_a_packet_radio_that_loses_packets() {
    for seed in 31..33 {
        meshes_sync(LoopbackConfig { drop: 50, ..LoopbackConfig::awkward(RadioKind::Gatt, seed) }, 4, 600)
            .await;
    }
}
