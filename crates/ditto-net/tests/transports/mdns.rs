//! Discovery by real multicast on the interfaces of this machine. Without any, the tests say so and pass.

use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, NetEvent, Transport};
use ditto_net::{MdnsConfig, Net, NetConfig, NetError, multicast_available};

use crate::probe::Probe;

/// Whether the test can run; says why when it cannot.
fn can_discover() -> bool {
    match multicast_available() {
        Ok(_) => true,
        Err(reason) => {
            println!("skipped: {reason}");
            false
        }
    }
}

/// A service type and tokens that no other run on the same network uses.
struct Names {
    run: String,
}

impl Names {
    fn new(test: &str) -> Self {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        Self {
            run: format!("{test}{:x}", (nanos as u64 ^ u64::from(std::process::id()) << 32) & 0xff_ffff_ffff),
        }
    }

    fn service_type(&self) -> String {
        format!("_t{}._tcp.local.", &self.run)
    }

    fn token(&self, who: &str) -> String {
        format!("{who}-{}", self.run)
    }

    async fn start(&self, who: &str, listen: Option<&str>) -> (Net, Probe) {
        let (sender, probe) = Probe::new(32);
        let mdns = MdnsConfig { service_type: self.service_type(), token: self.token(who) };
        let config =
            NetConfig { listen: listen.map(str::to_owned), mdns: Some(mdns), ..NetConfig::default() };
        (Net::start(config, sender).await.unwrap(), probe)
    }
}

async fn discovered(probe: &mut Probe, token: &str) -> Vec<DialTarget> {
    probe
        .find("Discovered", |e| match e {
            NetEvent::Discovered { token: t, targets } if t == token => Some(targets.clone()),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nets_find_dial_and_lose_each_other() {
    if !can_discover() {
        return;
    }
    let names = Names::new("a");
    let (a, mut a_probe) = names.start("a", Some("[::]:0")).await;
    let (b, mut b_probe) = names.start("b", Some("0.0.0.0:0")).await;
    let targets = discovered(&mut a_probe, &names.token("b")).await;
    let port = b.listen_addr().unwrap().port();
    assert!(!targets.is_empty());
    for target in &targets {
        let DialTarget::Tcp(address) = target else { panic!("{target} is no TCP address") };
        let address: std::net::SocketAddr = address.parse().unwrap();
        assert_eq!(address.port(), port);
        assert!(!address.ip().is_loopback(), "{address} is not for others");
        assert!(address.is_ipv4(), "{address} is not what the listener listens on");
    }
    a.dial(LinkId(1), &targets[0]);
    assert_eq!(a_probe.up().await, LinkId(1));

    let targets = discovered(&mut b_probe, &names.token("a")).await;
    assert!(!targets.is_empty());

    a.shutdown().await;
    let lost = b_probe
        .find("Lost", |e| match e {
            NetEvent::Lost { token } => Some(token.clone()),
            _ => None,
        })
        .await;
    assert_eq!(lost, names.token("a"));
    b.shutdown().await;
    assert_eq!(b.stats().tasks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_finds_himself_or_another_service() {
    if !can_discover() {
        return;
    }
    let names = Names::new("b");
    let (_a, mut a_probe) = names.start("a", Some("0.0.0.0:0")).await;
    let (_b, mut b_probe) = names.start("b", Some("0.0.0.0:0")).await;
    let (_other, mut other_probe) = Names::new("c").start("o", Some("0.0.0.0:0")).await;
    discovered(&mut b_probe, &names.token("a")).await;
    let a_saw = a_probe.until_quiet(Duration::from_secs(2)).await;
    let tokens: Vec<_> = a_saw
        .iter()
        .filter_map(|e| match e {
            NetEvent::Discovered { token, .. } => Some(token.as_str()),
            _ => None,
        })
        .collect();
    assert!(tokens.contains(&names.token("b").as_str()), "{a_saw:?}");
    assert!(tokens.iter().all(|t| *t == names.token("b")), "{a_saw:?}");
    let other_saw = other_probe.until_quiet(Duration::from_millis(100)).await;
    assert!(!other_saw.iter().any(|e| matches!(e, NetEvent::Discovered { .. })), "{other_saw:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_reachable_listener_one_looks_but_is_not_found() {
    if !can_discover() {
        return;
    }
    let names = Names::new("d");
    let (_a, mut a_probe) = names.start("a", Some("0.0.0.0:0")).await;
    let (_dials_only, mut dials_only) = names.start("b", None).await;
    let (_loopback, mut loopback) = names.start("c", Some("127.0.0.1:0")).await;
    discovered(&mut dials_only, &names.token("a")).await;
    discovered(&mut loopback, &names.token("a")).await;
    let a_saw = a_probe.until_quiet(Duration::from_secs(2)).await;
    assert!(!a_saw.iter().any(|e| matches!(e, NetEvent::Discovered { .. })), "{a_saw:?}");
}

#[tokio::test]
async fn names_that_dns_cannot_carry_are_refused() {
    for (service_type, token) in [("_ditto._tcp.local.", "No Good"), ("ditto", "good")] {
        let (sender, _probe) = Probe::new(1);
        let mdns = MdnsConfig { service_type: service_type.to_owned(), token: token.to_owned() };
        let config = NetConfig { listen: None, mdns: Some(mdns), ..NetConfig::default() };
        match Net::start(config, sender).await {
            Err(NetError::Token { token: t }) => assert_eq!(t, token),
            Err(NetError::ServiceType { service_type: s }) => assert_eq!(s, service_type),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{service_type} {token} was accepted"),
        }
    }
}
