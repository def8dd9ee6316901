//! Circuits over real sockets: four machines in a row on loopback.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ditto_mesh::transport::{DialTarget, NetEvent, Transport as _};
use ditto_mesh::{Action, CircuitEnd, CircuitId, Identity, Input, Mesh, MeshConfig, PeerKey};
use ditto_net::{Net, NetConfig};
use ditto_types::DatabaseId;
use tokio::sync::mpsc;

/// Far beyond what anything here takes; only a failure waits so long.
const LIMIT: Duration = Duration::from_secs(60);

struct Node {
    mesh: Mesh,
    net: Net,
    key: PeerKey,
    log: Vec<Action>,
}

struct World {
    nodes: Vec<Node>,
    events: mpsc::Receiver<(usize, NetEvent)>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Good enough for a test on loopback: a counter behind a mixer.
fn random(seed: u64) -> ditto_mesh::RandomBytes {
    let mut state = seed;
    Box::new(move |out| {
        for b in out {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *b = (state >> 33) as u8;
        }
    })
}

impl World {
    /// Machines of which each dials the one before it.
    async fn line(n: u8) -> Self {
        let (merged, events) = mpsc::channel(64);
        let mut world = Self { nodes: Vec::new(), events };
        let mut before = None;
        for i in 0..n {
            let (out, mut events) = mpsc::channel(64);
            let listen = Some("127.0.0.1:0".into());
            let net = Net::start(NetConfig { listen, ..NetConfig::default() }, out).await.unwrap();
            let merged = merged.clone();
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    if merged.send((usize::from(i), event)).await.is_err() {
                        return;
                    }
                }
            });
            let identity = Arc::new(Identity::generate(&mut |out| out.fill(i + 1)));
            let mut config = MeshConfig::new(identity, DatabaseId::DEFAULT, [i; 16], [1; 8]);
            config.static_targets = before.into_iter().map(DialTarget::Tcp).collect();
            before = net.listen_addr().map(|a| a.to_string());
            let mesh = Mesh::new(config, random(u64::from(i) + 1));
            let key = mesh.peer_key();
            world.nodes.push(Node { mesh, net, key, log: Vec::new() });
        }
        for i in 0..usize::from(n) {
            world.input(i, Input::Start);
        }
        world
    }

    fn input(&mut self, node: usize, input: Input) {
        let Node { mesh, net, log, .. } = &mut self.nodes[node];
        mesh.handle(input, now());
        while let Some(action) = mesh.poll() {
            match action {
                Action::Dial { link, target } => net.dial(link, &target),
                Action::Write { link, bytes } => net.write(link, bytes),
                Action::Close { link } => net.close(link),
                action => {
                    if let Action::CircuitMessage { circuit, bytes } = &action {
                        mesh.handle(Input::CircuitConsumed { circuit: *circuit, bytes: bytes.len() }, now());
                    }
                    log.push(action);
                }
            }
        }
    }

    /// Runs everything until `done` holds.
    async fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < LIMIT, "not reached: {what}");
            let deadline = self.nodes.iter().filter_map(|n| n.mesh.next_deadline()).min();
            let wait = deadline.map_or(50, |d| d.saturating_sub(now()).clamp(1, 50));
            if let Ok(Some((node, event))) =
                tokio::time::timeout(Duration::from_millis(wait), self.events.recv()).await
            {
                self.input(node, Input::Net(event));
            }
            for i in 0..self.nodes.len() {
                if self.nodes[i].mesh.next_deadline().is_some_and(|d| d <= now()) {
                    self.input(i, Input::Tick);
                }
            }
        }
    }

    fn messages(&self, node: usize) -> Vec<&[u8]> {
        self.nodes[node]
            .log
            .iter()
            .filter_map(
                |a| if let Action::CircuitMessage { bytes, .. } = a { Some(&bytes[..]) } else { None },
            )
            .collect()
    }
}

#[tokio::test]
async fn messages_and_datagrams_cross_three_hops_of_tcp() {
    let mut w = World::line(4).await;
    w.until("everybody sees everybody", |w| {
        w.nodes.iter().all(|n| n.mesh.graph().all_connections_by_id().len() == 3)
    })
    .await;
    let (circuit, target) = (CircuitId(1), w.nodes[3].key);
    w.input(0, Input::CircuitOpen { circuit, target, purpose: 9 });
    w.until("open", |w| w.nodes[0].log.iter().any(|a| matches!(a, Action::CircuitOpened { .. }))).await;
    let incoming = w.nodes[3].log.iter().find_map(|a| match a {
        Action::CircuitIncoming { circuit, peer, purpose } => Some((*circuit, *peer, *purpose)),
        _ => None,
    });
    let (there, peer, purpose) = incoming.unwrap();
    assert_eq!((peer, purpose), (w.nodes[0].key, 9));

    let big: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    w.input(0, Input::CircuitSend { circuit, bytes: big.clone(), tag: 1 });
    w.input(3, Input::CircuitSend { circuit: there, bytes: b"answer".to_vec(), tag: 2 });
    w.until("both messages", |w| !w.messages(3).is_empty() && !w.messages(0).is_empty()).await;
    assert_eq!((w.messages(3), w.messages(0)), (vec![&big[..]], vec![&b"answer"[..]]));

    // A datagram may be lost when the machine is busy, so it is tried again.
    let got = |w: &World| w.nodes[3].log.iter().any(|a| matches!(a, Action::CircuitDatagram { .. }));
    for tag in 10..30 {
        let failed = w.nodes[0].log.len();
        w.input(0, Input::CircuitDatagram { circuit, bytes: b"datagram".to_vec(), tag });
        w.until("an answer", |w| {
            let is_answer = |a: &Action| {
                matches!(a, Action::CircuitTransmitted { tag: t, .. } | Action::CircuitSendFailed { tag: t, .. } if *t == tag)
            };
            w.nodes[0].log[failed..].iter().any(is_answer)
        })
        .await;
    }
    w.until("a datagram", got).await;

    w.input(3, Input::CircuitClose { circuit: there, code: 5 });
    w.until("the end", |w| {
        w.nodes[0].log.contains(&Action::CircuitClosed { circuit, reason: CircuitEnd::Remote(5) })
            && w.nodes[3].log.contains(&Action::CircuitClosed { circuit: there, reason: CircuitEnd::Local })
    })
    .await;
    w.until("nothing left at the relays", |w| {
        w.nodes.iter().all(|n| n.mesh.circuit_stats().relayed + n.mesh.circuit_stats().ends == 0)
    })
    .await;
    for n in &w.nodes {
        n.net.shutdown().await;
    }
}
