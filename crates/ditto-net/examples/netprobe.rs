//! Announces itself, dials whom it finds, and echoes: one end of the discovery test between network namespaces.
//!
//! `netprobe [--by mdns|multicast|both] SERVICE_TYPE TOKEN [PEER_TOKEN]` prints one line per event. With a peer token it
//! dials that peer, sends 1 MB, checks the echo and prints `echoed`; without, it echoes. It ends when its input ends.
//! Multicast announces every second, and its scope is made of the service type.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::io::Read;
use std::time::Duration;

use ditto_mesh::transport::{LinkId, NetEvent, Role, Transport};
use ditto_net::{MdnsConfig, MulticastConfig, MulticastScope, Net, NetConfig};
use tokio::sync::mpsc;

const LINK: LinkId = LinkId(1);
const LEN: usize = 1_000_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).peekable();
    let by = match args.next_if_eq("--by") {
        Some(_) => args.next().unwrap_or_default(),
        None => "mdns".to_owned(),
    };
    let (Some(service_type), Some(token)) = (args.next(), args.next()) else {
        return Err("usage: netprobe SERVICE_TYPE TOKEN [PEER_TOKEN]".into());
    };
    let peer = args.next();
    let (sender, mut events) = mpsc::channel(32);
    let mut scope = [0; 32];
    scope[..service_type.len().min(32)]
        .copy_from_slice(&service_type.as_bytes()[..service_type.len().min(32)]);
    let multicast = MulticastConfig {
        interval: Duration::from_secs(1),
        ..MulticastConfig::new(MulticastScope(scope), token.clone())
    };
    let config = NetConfig {
        listen: Some("[::]:0".to_owned()),
        mdns: (by != "multicast").then_some(MdnsConfig { service_type, token }),
        multicast: (by != "mdns").then_some(multicast),
        ..NetConfig::default()
    };
    let net = Net::start(config, sender).await?;
    let (input_end, mut input_ended) = mpsc::channel::<()>(1);
    std::thread::spawn(move || {
        // Only the end of the input matters, and an error is an end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(input_end);
    });

    let mut dialled = false;
    let mut echoed = Vec::new();
    let data: Vec<u8> = (0..LEN).map(|i| (i % 251) as u8).collect();
    loop {
        let event = tokio::select! {
            _ = input_ended.recv() => break,
            event = events.recv() => event.ok_or("the events ended")?,
        };
        match event {
            NetEvent::Discovered { token, targets } => {
                println!(
                    "discovered {token} {}",
                    targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                );
                if peer.as_deref() == Some(&*token) && !dialled {
                    dialled = true;
                    net.dial(LINK, targets.first().ok_or("no target")?);
                }
            }
            NetEvent::LinkUp { link, role, remote, .. } => {
                println!("up {link} {remote}");
                if role == Role::Dialer {
                    net.write(link, data.clone());
                }
            }
            NetEvent::Bytes { link: LINK, bytes } => {
                echoed.extend_from_slice(&bytes);
                if echoed.len() >= LEN {
                    println!("{}", if echoed == data { "echoed" } else { "damaged" });
                }
            }
            NetEvent::Bytes { link, bytes } => net.write(link, bytes),
            NetEvent::Written { .. } => {}
            NetEvent::LinkDown { link, reason } => println!("down {link} {reason}"),
            NetEvent::DialFailed { link, reason } => return Err(format!("dial {link}: {reason}").into()),
            NetEvent::Lost { token } => println!("lost {token}"),
            NetEvent::NetworkChanged => println!("network changed"),
            NetEvent::Listening { addr } => println!("listening {addr}"),
            NetEvent::Condition { source, text } => println!("condition {source} {text}"),
        }
    }
    net.shutdown().await;
    Ok(())
}
