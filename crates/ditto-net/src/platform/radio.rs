//! One radio: its links, what it has discovered, and its life from start to stop.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, LinkKind, NetEvent};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::link::{run_dial, run_incoming};
use super::sink::{RadioEvent, RadioSink};
use super::{ConditionCode, EndCode, MAX_PAYLOAD, RadioConfig, RadioKind, RadioShim, RoleHint, ScanMode};
use crate::mdns::is_token;
use crate::part::Part;
use crate::sink::EventSink;
use crate::table::LinkTable;
use crate::tcp::{fail_dial, refuse_dial};

/// Devices remembered at once. Anybody in range can invent more.
const MAX_DEVICES: usize = 256;
/// Bytes of one link that wait for the mesh. The credits of the frame layer keep an honest peer far below.
pub(super) const MAX_INBOX: usize = 4 << 20;
/// How long the radio looks with all power, at the start and after a link has ended.
const BURST: Duration = Duration::from_secs(15);
/// Shortest time from one burst to the next.
const BURST_PAUSE: Duration = Duration::from_secs(60);
/// First and longest pause before a radio that did not start is started again.
const RESTART_MIN: Duration = Duration::from_secs(2);
const RESTART_MAX: Duration = Duration::from_secs(60);
/// How long the links of a radio that stops may take for their last bytes.
const DRAIN: Duration = Duration::from_millis(1500);
/// Version of the advertised payload.
const VERSION: u8 = 1;

/// How many links a radio may have. The rest of what it can is for others, as the headset of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RadioLimits {
    /// Links that this side opened.
    pub outgoing: usize,
    /// Links that others opened.
    pub incoming: usize,
}

impl RadioLimits {
    /// For Bluetooth LE: two of each of about seven that phones manage.
    pub const BLUETOOTH: Self = Self { outgoing: 2, incoming: 2 };
    /// For AWDL and Wi-Fi Aware.
    pub const P2P_WIFI: Self = Self { outgoing: 3, incoming: 3 };
    /// For TCP over a LAN.
    pub const LAN: Self = Self { outgoing: 6, incoming: 24 };
}

/// A radio to use.
#[derive(Clone)]
pub struct Radio {
    /// Its name in `DialTarget::Platform` and in `Condition` events, as `Bluetooth`, `Awdl` or `WifiAware`. Unique.
    pub name: String,
    /// What drives it.
    pub shim: Arc<dyn RadioShim>,
    /// The service of the database and sync group; see [`RadioConfig::service_uuid`].
    pub service_uuid: String,
    /// What this process calls itself, the same as on the LAN, so that an instance found both ways is one. 1 to 63
    /// characters of `a-z`, `0-9` and `-`.
    pub token: String,
    /// Which roles it plays.
    pub role: RoleHint,
    /// What its links are carried by, as far as limits and choices are concerned.
    pub kind: LinkKind,
    /// How many links it may have.
    pub limits: RadioLimits,
}

impl fmt::Debug for Radio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Radio")
            .field("name", &self.name)
            .field("service_uuid", &self.service_uuid)
            .field("token", &self.token)
            .field("role", &self.role)
            .field("kind", &self.kind)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Radio {
    fn eq(&self, other: &Self) -> bool {
        let values = |radio: &Self| {
            (radio.config(), radio.name.clone(), radio.token.clone(), radio.kind, radio.limits)
        };
        Arc::ptr_eq(&self.shim, &other.shim) && values(self) == values(other)
    }
}

impl Eq for Radio {}

impl Radio {
    fn payload(&self) -> Vec<u8> {
        let mut payload = vec![VERSION];
        payload.extend_from_slice(self.token.as_bytes());
        payload
    }

    fn config(&self) -> RadioConfig {
        RadioConfig { service_uuid: self.service_uuid.clone(), payload: self.payload(), role: self.role }
    }
}

/// The token in an advertised payload of this version.
fn token_of(payload: &[u8]) -> Option<&str> {
    let (&VERSION, token) = payload.split_first()? else {
        return None;
    };
    std::str::from_utf8(token).ok().filter(|token| payload.len() <= MAX_PAYLOAD && is_token(token))
}

/// What a link is told.
#[derive(Debug)]
pub(super) enum Inbound {
    Up { kind: RadioKind, max_write: u32 },
    Failed(EndCode),
    Data(Vec<u8>),
    Down(EndCode),
}

/// The near end of a handle: what the shim reported about it.
pub(super) struct Inbox {
    pub(super) events: mpsc::UnboundedReceiver<Inbound>,
    pub(super) queued: Arc<AtomicUsize>,
    /// Set when the shim may take bytes again.
    pub(super) writable: Arc<Notify>,
    /// Set when more arrived than was taken. The rest is gone, so the link must be.
    pub(super) overrun: Arc<Notify>,
}

struct Port {
    events: mpsc::UnboundedSender<Inbound>,
    queued: Arc<AtomicUsize>,
    writable: Arc<Notify>,
    overrun: Arc<Notify>,
}

fn port() -> (Port, Inbox) {
    let (sender, events) = mpsc::unbounded_channel();
    let (queued, writable, overrun) = (Arc::default(), Arc::<Notify>::default(), Arc::<Notify>::default());
    let inbox =
        Inbox { events, queued: Arc::clone(&queued), writable: writable.clone(), overrun: overrun.clone() };
    (Port { events: sender, queued, writable, overrun }, inbox)
}

/// For the task of the radio.
enum Control {
    Incoming {
        handle: u64,
        inbox: Inbox,
        kind: RadioKind,
        max_write: u32,
    },
    /// An incoming link over the limit. The shim may not be called from inside its own report.
    Refuse {
        handle: u64,
    },
    LinkEnded,
}

#[derive(Default)]
struct State {
    ports: HashMap<u64, Port>,
    last_handle: u64,
    /// Whether the shim takes connects.
    started: bool,
    outgoing: usize,
    incoming: usize,
    devices: Devices,
    /// The last reported condition that differs from the one before.
    condition: Option<(ConditionCode, String)>,
}

/// What the tasks of one radio share.
pub(super) struct Core {
    pub(super) name: String,
    pub(super) shim: Arc<dyn RadioShim>,
    pub(super) table: Arc<LinkTable>,
    pub(super) events: EventSink,
    limits: RadioLimits,
    state: Mutex<State>,
    control: mpsc::UnboundedSender<Control>,
    /// Set when devices or the condition may have changed.
    changed: Notify,
    /// Set when a link has ended.
    ended: Notify,
}

/// A started radio.
pub(crate) struct RadioHandle {
    core: Arc<Core>,
    part: Part,
}

/// Starts `radio`, whose discoveries go to `found` and whose links to `events`, once `before` has ended. It stops with
/// the handle.
pub(crate) fn start(
    radio: Radio,
    table: &Arc<LinkTable>,
    events: EventSink,
    found: &EventSink,
    before: Option<RadioHandle>,
) -> RadioHandle {
    let (control, controls) = mpsc::unbounded_channel();
    let core = Arc::new(Core {
        name: radio.name.clone(),
        shim: radio.shim.clone(),
        table: table.clone(),
        events,
        limits: radio.limits,
        state: Mutex::new(State {
            devices: Devices { own: radio.token.clone(), ..Devices::default() },
            ..State::default()
        }),
        control,
        changed: Notify::new(),
        ended: Notify::new(),
    });
    let running = core.clone();
    let part = Part::spawn(table, found, before.map(|before| before.part), move |found| {
        run(running, radio, controls, found)
    });
    RadioHandle { core, part }
}

impl RadioHandle {
    /// Starts dialling a device.
    pub(crate) fn dial(&self, link: LinkId, device: u64) {
        let core = self.core.clone();
        match core.table.dialled(link) {
            Ok(port) => {
                let table = core.table.clone();
                table.spawn(run_dial(core, link, port, device));
            }
            Err(refusal) => refuse_dial(&core.table, &core.events, link, refusal),
        }
    }
}

/// Answers a dial of a radio that there is not.
pub(crate) fn no_such_radio(table: &Arc<LinkTable>, sink: &EventSink, link: LinkId, radio: &str) {
    fail_dial(table, sink, link, format!("there is no radio {radio:?}"));
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new handle for a connect, or why there is none.
    pub(super) fn open(&self) -> Result<(u64, Inbox), String> {
        let mut state = self.lock();
        if !state.started {
            return Err("the radio does not run".to_owned());
        }
        if state.outgoing >= self.limits.outgoing {
            return Err("the radio has as many connections as it may".to_owned());
        }
        state.outgoing += 1;
        state.last_handle += 2;
        let handle = state.last_handle;
        let (port, inbox) = port();
        state.ports.insert(handle, port);
        Ok((handle, inbox))
    }

    /// Forgets a handle; reports about it are ignored from now on.
    pub(super) fn release(&self, handle: u64) {
        let mut state = self.lock();
        // Counted until its task is done with it, which is also after the shim has reported the end.
        state.ports.remove(&handle);
        if is_incoming(handle) {
            state.incoming -= 1;
        } else {
            state.outgoing -= 1;
        }
        drop(state);
        // Fails only after the radio has stopped.
        let _ = self.control.send(Control::LinkEnded);
        self.ended.notify_one();
    }

    /// Takes a report down. Called by the shim, on any thread: nothing in here waits or calls the shim.
    fn report(&self, event: RadioEvent) {
        let mut state = self.lock();
        match event {
            RadioEvent::Discovered { id, payload, rssi } => {
                if state.devices.discovered(id, &payload, rssi) {
                    self.changed.notify_one();
                }
            }
            RadioEvent::Lost { id } => {
                if state.devices.lost(id) {
                    self.changed.notify_one();
                }
            }
            RadioEvent::Condition { code, text } => {
                if code != ConditionCode::Ok && code != ConditionCode::Background {
                    // What a dead radio saw is no use, whether it says so or not.
                    state.devices.clear();
                }
                state.condition = Some((code, text));
                self.changed.notify_one();
            }
            RadioEvent::Incoming { handle, kind, max_write } => {
                if !is_incoming(handle) || state.ports.contains_key(&handle) {
                    tracing::warn!(
                        radio = self.name,
                        handle,
                        "incoming link ignored: the handle is not a new odd one"
                    );
                    return;
                }
                let control = if state.incoming >= self.limits.incoming {
                    Control::Refuse { handle }
                } else {
                    state.incoming += 1;
                    let (port, inbox) = port();
                    state.ports.insert(handle, port);
                    Control::Incoming { handle, inbox, kind, max_write }
                };
                // Fails only after the radio has stopped.
                let _ = self.control.send(control);
            }
            RadioEvent::LinkUp { handle, kind, max_write } => {
                state.tell(handle, Inbound::Up { kind, max_write });
            }
            RadioEvent::LinkFailed { handle, code } => {
                state.tell(handle, Inbound::Failed(code));
                state.ports.remove(&handle);
            }
            RadioEvent::Received { handle, bytes } => state.received(handle, bytes),
            RadioEvent::Writable { handle } => {
                if let Some(port) = state.ports.get(&handle) {
                    port.writable.notify_one();
                }
            }
            RadioEvent::LinkDown { handle, code } => {
                state.tell(handle, Inbound::Down(code));
                state.ports.remove(&handle);
            }
        }
    }

    fn is_drained(&self) -> bool {
        let state = self.lock();
        state.incoming + state.outgoing == 0
    }
}

fn is_incoming(handle: u64) -> bool {
    handle % 2 == 1
}

impl State {
    fn tell(&self, handle: u64, event: Inbound) {
        match self.ports.get(&handle) {
            // Fails only when the link is ending.
            Some(port) => drop(port.events.send(event)),
            None => tracing::trace!(handle, ?event, "report about an unknown link ignored"),
        }
    }

    fn received(&mut self, handle: u64, bytes: Vec<u8>) {
        let Some(port) = self.ports.get(&handle) else {
            return;
        };
        let len = bytes.len();
        if port.queued.fetch_add(len, Ordering::Relaxed) + len > MAX_INBOX {
            port.overrun.notify_one();
            self.ports.remove(&handle);
        } else if len > 0 {
            self.tell(handle, Inbound::Data(bytes));
        }
    }
}

/// The life of a radio.
async fn run(
    core: Arc<Core>,
    radio: Radio,
    mut controls: mpsc::UnboundedReceiver<Control>,
    found: EventSink,
) {
    let mut told: BTreeMap<String, Vec<DialTarget>> = BTreeMap::new();
    let mut condition = "ok".to_owned();
    let mut pause = RESTART_MIN;
    let mut started = false;
    // When something is to be done by time: start again, or end the burst.
    let mut due = Some(Instant::now());
    let mut last_burst = None;
    loop {
        tokio::select! {
            biased;
            () = found.stopped() => break,
            () = async { match due { Some(due) => sleep_until(due).await, None => std::future::pending().await } } => {
                due = None;
                if started {
                    core.shim.set_scanning(ScanMode::Low);
                    continue;
                }
                let sink = sink_of(&core);
                match core.shim.start(radio.config(), sink) {
                    Ok(()) => {
                        started = true;
                        core.lock().started = true;
                        tell_condition(&found, &core.name, &mut condition, "ok".to_owned()).await;
                        due = burst(&core, radio.role, &mut last_burst);
                    }
                    Err(e) => {
                        tell_condition(&found, &core.name, &mut condition, e.to_string()).await;
                        due = Some(Instant::now() + pause);
                        pause = (pause * 2).min(RESTART_MAX);
                    }
                }
            }
            Some(control) = controls.recv() => match control {
                Control::Incoming { handle, inbox, kind, max_write } => {
                    let table = core.table.clone();
                    table.spawn(run_incoming(core.clone(), handle, inbox, kind, max_write));
                }
                Control::Refuse { handle } => {
                    tracing::debug!(radio = core.name, handle, "incoming link refused: at capacity");
                    core.shim.close(handle);
                }
                Control::LinkEnded => {
                    if started && last_burst.is_none_or(|at: Instant| at.elapsed() >= BURST_PAUSE) {
                        due = burst(&core, radio.role, &mut last_burst);
                    }
                }
            },
            () = core.changed.notified() => {
                let (targets, reported) = {
                    let mut state = core.lock();
                    (state.devices.targets(&core.name, radio.kind), state.condition.take())
                };
                if let Some((code, text)) = reported {
                    let text = if code == ConditionCode::Ok { "ok".to_owned() } else { format!("{code}: {text}") };
                    tell_condition(&found, &core.name, &mut condition, text).await;
                }
                tell_devices(&found, &mut told, targets).await;
            }
        }
    }
    stop(&core, started).await;
}

/// Looks with all power for a while. Returns when that is over.
fn burst(core: &Core, role: RoleHint, last: &mut Option<Instant>) -> Option<Instant> {
    if role == RoleHint::Peripheral {
        return None;
    }
    core.shim.set_scanning(ScanMode::Burst);
    *last = Some(Instant::now());
    Some(Instant::now() + BURST)
}

async fn stop(core: &Arc<Core>, started: bool) {
    if !started {
        return;
    }
    core.lock().started = false;
    core.shim.set_scanning(ScanMode::Off);
    core.shim.set_advertising(None);
    // The links have heard of the stop themselves and are sending their last bytes.
    let drained = async {
        while !core.is_drained() {
            core.ended.notified().await;
        }
    };
    // What has not ended by then ends with the radio.
    let _ = timeout(DRAIN, drained).await;
    core.shim.stop();
}

/// A sink that does not keep the radio alive, because the shim may keep the sink.
fn sink_of(core: &Arc<Core>) -> Arc<RadioSink> {
    let core: Weak<Core> = Arc::downgrade(core);
    Arc::new(RadioSink::new(move |event| {
        if let Some(core) = core.upgrade() {
            core.report(event);
        }
    }))
}

async fn tell_condition(sink: &EventSink, radio: &str, last: &mut String, text: String) {
    if *last != text {
        last.clone_from(&text);
        sink.emit(NetEvent::Condition { source: radio.to_owned(), text }).await;
    }
}

async fn tell_devices(
    sink: &EventSink,
    told: &mut BTreeMap<String, Vec<DialTarget>>,
    now: BTreeMap<String, Vec<DialTarget>>,
) {
    for token in told.keys().filter(|token| !now.contains_key(*token)) {
        sink.emit(NetEvent::Lost { token: token.clone() }).await;
    }
    for (token, targets) in &now {
        if told.get(token) != Some(targets) {
            sink.emit(NetEvent::Discovered { token: token.clone(), targets: targets.clone() }).await;
        }
    }
    *told = now;
}

/// The devices in range.
#[derive(Default)]
struct Devices {
    own: String,
    /// Token and signal strength by the shim's name of the device.
    seen: BTreeMap<u64, (String, i32)>,
}

impl Devices {
    /// Whether that changes anything.
    fn discovered(&mut self, id: u64, payload: &[u8], rssi: i32) -> bool {
        let Some(token) = token_of(payload).filter(|token| *token != self.own) else {
            // It may have been one of ours before.
            return self.lost(id);
        };
        if let Some((known, strength)) = self.seen.get_mut(&id) {
            *strength = rssi;
            if known == token {
                return false;
            }
            token.clone_into(known);
            return true;
        }
        if self.seen.len() >= MAX_DEVICES {
            tracing::debug!(id, limit = MAX_DEVICES, "discovered device ignored: too many");
            return false;
        }
        self.seen.insert(id, (token.to_owned(), rssi));
        true
    }

    fn lost(&mut self, id: u64) -> bool {
        self.seen.remove(&id).is_some()
    }

    fn clear(&mut self) {
        self.seen.clear();
    }

    /// How to dial each instance, the strongest signal first.
    fn targets(&self, radio: &str, kind: LinkKind) -> BTreeMap<String, Vec<DialTarget>> {
        let mut by_token: BTreeMap<&String, Vec<(i32, u64)>> = BTreeMap::new();
        for (id, (token, rssi)) in &self.seen {
            // 0 is unknown, which is weaker than any that is known.
            let weakness = if *rssi == 0 { i32::MAX } else { rssi.saturating_neg() };
            by_token.entry(token).or_default().push((weakness, *id));
        }
        let target = |device| DialTarget::Platform { radio: radio.to_owned(), device, kind };
        by_token
            .into_iter()
            .map(|(token, mut devices)| {
                devices.sort_unstable();
                (token.clone(), devices.into_iter().map(|(_, id)| target(id)).collect())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(token: &str) -> Vec<u8> {
        [&[VERSION], token.as_bytes()].concat()
    }

    fn devices() -> Devices {
        Devices { own: "me".to_owned(), ..Devices::default() }
    }

    #[test]
    fn payloads_of_strangers_are_refused() {
        assert_eq!(token_of(&payload("a-9")), Some("a-9"));
        for bad in
            [vec![], vec![2, b'a'], vec![VERSION], payload("A"), payload(&"a".repeat(64)), vec![1, 0xff]]
        {
            assert_eq!(token_of(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_instance_under_several_addresses_is_one_with_the_strongest_first() {
        let mut d = devices();
        assert!(d.discovered(1, &payload("a"), -80));
        assert!(d.discovered(2, &payload("a"), -40));
        assert!(d.discovered(3, &payload("a"), 0));
        assert!(!d.discovered(2, &payload("a"), -41), "the signal alone is no news");
        assert!(!d.discovered(4, &payload("me"), -1));
        let ids: Vec<String> =
            d.targets("r", LinkKind::Bluetooth)["a"].iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["platform://r/2", "platform://r/1", "platform://r/3"]);
        assert!(d.discovered(2, &payload("b"), -40), "the address has another instance now");
        assert_eq!(d.targets("r", LinkKind::Bluetooth).len(), 2);
        assert!(d.discovered(2, b"no payload", -40));
        assert!(!d.lost(2) && d.lost(1) && d.lost(3));
        assert!(d.targets("r", LinkKind::Bluetooth).is_empty());
    }

    #[test]
    fn invented_devices_are_bounded() {
        let mut d = devices();
        for id in 0..2 * MAX_DEVICES as u64 {
            d.discovered(id, &payload(&format!("t{id}")), 0);
        }
        assert_eq!(d.targets("r", LinkKind::Bluetooth).len(), MAX_DEVICES);
    }
}
