//! `ditto doctor`: looks for what keeps devices from connecting, and says what to do about it.
//!
//! It runs a throw-away peer of the database, with a listener as an app has it, and a second one that connects to the first.

mod findings;
mod local;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ditto::{ConnectionEvent, ConnectionEvents, Ditto, PeerKey, TransportPeer};

use self::findings::{Findings, Level};
use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::{keygen, output, peer};

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// The logical database of the mesh, a UUID.
    #[arg(long, value_name = "UUID")]
    database_id: Option<String>,
    /// File with the mesh's shared key.
    #[arg(long, value_name = "FILE")]
    shared_key: Option<PathBuf>,
    /// Directory of a database whose key file is looked at. It is not opened.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Address of a peer to connect to. Repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    connect: Vec<String>,
    /// Address that the app listens on; any free port of every interface when absent. The app must not run meanwhile.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// How long to look for other peers, in seconds.
    #[arg(long, value_name = "S", default_value_t = 5)]
    wait: u64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// A clock that differs by more than this makes the wrong write win.
const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// Longest wait for the connection to ourselves.
const SELF_TEST: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: DoctorArgs) -> Result<(), Failure> {
    let mut findings = Findings::default();
    local::interfaces(&mut findings);
    local::key_files(&mut findings, args.dir.as_deref(), args.shared_key.as_deref());
    let shared_key = args.shared_key.as_deref().map(keygen::read).transpose()?;
    if shared_key.is_none() {
        findings.add(
            Level::Warning,
            "admission",
            "no shared key: anybody who knows the database id may join",
            "make a key with `ditto keygen`, give it to every device and name it with --shared-key",
        );
    }
    let database =
        DatabaseArgs { dir: ":temp:".into(), database_id: args.database_id.clone(), durable: false };
    let doctor = Instance::open(&database, shared_key.clone()).await?;
    let patient = Instance::open(&database, shared_key).await?;
    let outcome = network(&doctor.ditto, &patient.ditto, &args, &mut findings).await;
    patient.close().await?;
    doctor.close().await?;
    outcome?;
    output::text(&if args.json { findings.json() } else { findings.text() });
    match findings.failures() {
        0 => Ok(()),
        1 => Err(Failure::query("one fault found")),
        n => Err(Failure::query(format!("{n} faults found"))),
    }
}

async fn network(
    doctor: &Ditto,
    helper: &Ditto,
    args: &DoctorArgs,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let listen = args.listen.as_deref().map(|l| peer::parse_listen("--listen", l)).transpose()?;
    doctor.set_device_name("ditto doctor");
    helper.set_device_name("ditto doctor");
    doctor
        .update_transport_config(|c| {
            for address in &args.connect {
                c.add_tcp_server(address);
            }
            if let Some((ip, port)) = &listen {
                c.enable_tcp_listen(ip, *port);
            }
        })
        .await?;
    let events = doctor.connection_events();
    if let Err(e) = doctor.sync().start().await {
        findings.add(
            Level::Failure,
            "listener",
            e.reason(),
            "another program, or the app itself, may hold the port: end it or take another port",
        );
        return Ok(());
    }
    listener(doctor, helper, findings).await?;
    tokio::time::sleep(Duration::from_secs(args.wait)).await;
    refusals(events, helper.peer_key(), findings).await;
    peers(doctor, helper.peer_key(), args, findings)
}

/// Connects to our own listener: socket, secure channel, admission and presence as another device would.
async fn listener(doctor: &Ditto, helper: &Ditto, findings: &mut Findings) -> Result<(), Failure> {
    let Some(address) = doctor.sync().listen_address() else {
        findings.add(
            Level::Failure,
            "listener",
            "there is no listener",
            "switch the LAN transport or a listener on",
        );
        return Ok(());
    };
    let own = crate::control::reachable(address);
    helper
        .update_transport_config(|c| {
            c.disable_all_peer_to_peer();
            c.add_tcp_server(own.to_string());
        })
        .await?;
    let mut events = helper.connection_events();
    helper.sync().start().await?;
    let connected = async {
        while let Some(record) = events.next().await {
            match record.event {
                ConnectionEvent::Connected { .. } => return Ok(()),
                event @ (ConnectionEvent::DialFailed { .. } | ConnectionEvent::Refused { .. }) => {
                    return Err(event.to_string());
                }
                _ => {}
            }
        }
        Err("the instance was closed".to_owned())
    };
    match tokio::time::timeout(SELF_TEST, connected).await {
        Ok(Ok(())) => findings.fine("listener", format!("listens on {address} and takes connections")),
        Ok(Err(e)) => findings.add(
            Level::Failure,
            "listener",
            format!("listens on {address}, but a connection from this machine failed: {e}"),
            "look at the firewall of this machine",
        ),
        Err(_) => findings.add(
            Level::Failure,
            "listener",
            format!("listens on {address}, but a connection from this machine got no answer"),
            "look at the firewall of this machine",
        ),
    }
    Ok(())
}

/// Why peers were refused meanwhile, once for each and reason.
async fn refusals(mut events: ConnectionEvents, helper: PeerKey, findings: &mut Findings) {
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    // Only what has happened: a moment without an event is the end.
    while let Ok(Some(record)) = tokio::time::timeout(Duration::from_millis(50), events.next()).await {
        let event = record.event;
        let reason = match &event {
            ConnectionEvent::Refused { reason, peer, .. } if *peer != Some(helper) => reason.as_str(),
            ConnectionEvent::DialFailed { .. } => "unreachable",
            _ => continue,
        };
        let address = event.address().unwrap_or_default();
        seen.entry((address, reason.to_owned())).or_insert_with(|| event.to_string());
    }
    for ((_, reason), text) in seen {
        findings.add(Level::Failure, "connection", text, findings::advice(&reason));
    }
}

/// How well the connected peers are.
fn peers(doctor: &Ditto, helper: PeerKey, args: &DoctorArgs, findings: &mut Findings) -> Result<(), Failure> {
    let now = doctor.transport_diagnostics()?;
    let all = now.transports.iter().flat_map(|t| &t.connected);
    let others: Vec<&TransportPeer> = all.filter(|p| p.peer_key != Some(helper)).collect();
    for p in &others {
        let name = p.peer_key.map_or_else(|| p.address.clone(), |k| k.to_string().chars().take(14).collect());
        let rtt = p.round_trip_ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms} ms"));
        findings.fine("peer", format!("{name} at {}: round trip {rtt}", p.address));
        let Some(offset) = p.clock_offset_ms else { continue };
        let text = format!("the clock of {name} differs by {offset} ms");
        if offset.unsigned_abs() > CLOCK_TOLERANCE_MS {
            let advice = "set both clocks, best by network time: writes of the device that is ahead win";
            findings.add(Level::Failure, "clock", text, advice);
        } else {
            findings.fine("clock", text);
        }
    }
    if others.is_empty() {
        findings.add(
            Level::Warning,
            "peer",
            format!("no other peer was found in {} s", args.wait),
            "run it while an app of the same database id and key runs in the same network; where discovery does not reach, \
             name its address with --connect",
        );
    }
    Ok(())
}
