//! One radio under test: drives it, records what it reports, and watches the rules that hold always.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::super::packet::MIN_PACKET;
use super::super::{
    EndCode, Profile, RadioConfig, RadioEvent, RadioKind, RadioShim, RadioSink, RoleHint, ScanMode,
    SendResult,
};

const SERVICE: &str = "6d1f0f3a-5d2f-8c55-9d35-0b6a2f4c7e11";
/// Largest piece that a stream may report.
const MAX_PIECE: usize = 1 << 20;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The rig cannot bring the situation about.
    CannotTest(String),
    /// The contract is broken.
    Broken(String),
}

pub(super) fn broken<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Broken(what.into()))
}

/// Where a handle stands, as the reports tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Up { profile: Profile, max_write: usize },
    Ended,
}

pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) shim: Arc<dyn RadioShim>,
    sender: Sender<RadioEvent>,
    events: Receiver<RadioEvent>,
    /// Reported and not yet asked for.
    pub(super) seen: VecDeque<RadioEvent>,
    handles: BTreeMap<u64, Stage>,
    last_handle: u64,
    violation: Option<String>,
    stopped: bool,
    patience: Duration,
    quiet: Duration,
}

impl Side {
    pub(super) fn new(
        shim: Arc<dyn RadioShim>,
        name: &'static str,
        patience: Duration,
        quiet: Duration,
    ) -> Self {
        let (sender, events) = channel();
        Self {
            name,
            shim,
            sender,
            events,
            seen: VecDeque::new(),
            handles: BTreeMap::new(),
            last_handle: 0,
            violation: None,
            stopped: false,
            patience,
            quiet,
        }
    }

    pub(super) fn start(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let sender = self.sender.clone();
        let sink = RadioSink::new(move |event| {
            // The case may be over.
            let _ = sender.send(event);
        });
        let config =
            RadioConfig { service_uuid: SERVICE.to_owned(), payload: payload.to_vec(), role: RoleHint::Both };
        self.stopped = false;
        self.seen.clear();
        self.shim
            .start(config, Arc::new(sink))
            .map_err(|e| Failure::Broken(format!("{}: start fails: {e}", self.name)))
    }

    /// A handle for a connect.
    pub(super) fn new_handle(&mut self) -> u64 {
        self.last_handle += 2;
        self.handles.insert(self.last_handle, Stage::Connecting);
        self.last_handle
    }

    pub(super) fn connect(&mut self, device: u64) -> u64 {
        let handle = self.new_handle();
        self.shim.connect(handle, device);
        handle
    }

    /// The first report that `pick` takes; the others are kept for later.
    pub(super) fn find<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&RadioEvent) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut at = 0;
        while at < self.seen.len() {
            if let Some(found) = pick(&self.seen[at]) {
                self.seen.remove(at);
                return Ok(found);
            }
            at += 1;
        }
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    self.watch(&event);
                    if let Some(found) = pick(&event) {
                        return Ok(found);
                    }
                    self.seen.push_back(event);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let seen: Vec<String> = self.seen.iter().map(shape).collect();
                    return broken(format!(
                        "{}: no {what} within {:?}; reported: {seen:?}",
                        self.name, self.patience
                    ));
                }
            }
        }
    }

    /// Listens for a while.
    pub(super) fn listen(&mut self) {
        let deadline = Instant::now() + self.quiet;
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.watch(&event);
            self.seen.push_back(event);
        }
    }

    /// Listens for a while for what must not come.
    pub(super) fn never(&mut self, what: &str, pick: impl Fn(&RadioEvent) -> bool) -> Result<(), Failure> {
        self.listen();
        match self.seen.iter().find(|event| pick(event)) {
            Some(event) => broken(format!("{}: {what}: {}", self.name, shape(event))),
            None => Ok(()),
        }
    }

    pub(super) fn discovered(&mut self, payload: &[u8]) -> Result<u64, Failure> {
        self.find("discovered", |event| match event {
            RadioEvent::Discovered { id, payload: p, .. } if p == payload => Some(*id),
            _ => None,
        })
    }

    pub(super) fn lost(&mut self, device: u64) -> Result<(), Failure> {
        self.find("lost", |event| matches!(event, RadioEvent::Lost { id } if *id == device).then_some(()))
    }

    pub(super) fn up(&mut self, handle: u64) -> Result<(RadioKind, u32), Failure> {
        let answer = self.find("answer to a connect", |event| match event {
            RadioEvent::LinkUp { handle: h, kind, max_write } if *h == handle => {
                Some(Ok((*kind, *max_write)))
            }
            RadioEvent::LinkFailed { handle: h, code } if *h == handle => Some(Err(*code)),
            _ => None,
        })?;
        answer.or_else(|code| broken(format!("{}: a connect fails: {code}", self.name)))
    }

    pub(super) fn failed(&mut self, handle: u64) -> Result<EndCode, Failure> {
        self.find("link_failed", |event| match event {
            RadioEvent::LinkFailed { handle: h, code } if *h == handle => Some(*code),
            _ => None,
        })
    }

    pub(super) fn incoming(&mut self) -> Result<u64, Failure> {
        self.find("incoming", |event| match event {
            RadioEvent::Incoming { handle, .. } => Some(*handle),
            _ => None,
        })
    }

    pub(super) fn down(&mut self, handle: u64) -> Result<EndCode, Failure> {
        self.find("link_down", |event| match event {
            RadioEvent::LinkDown { handle: h, code } if *h == handle => Some(*code),
            _ => None,
        })
    }

    pub(super) fn received(&mut self, handle: u64) -> Result<Vec<u8>, Failure> {
        self.find("received", |event| match event {
            RadioEvent::Received { handle: h, bytes } if *h == handle => Some(bytes.clone()),
            _ => None,
        })
    }

    pub(super) fn writable(&mut self, handle: u64) -> Result<(), Failure> {
        self.find("writable after busy", |event| {
            matches!(event, RadioEvent::Writable { handle: h } if *h == handle).then_some(())
        })
    }

    /// Forgets `writable` reports of the past, so that the next one answers the next busy.
    pub(super) fn forget_writable(&mut self) {
        self.seen.retain(|event| !matches!(event, RadioEvent::Writable { .. }));
    }

    pub(super) fn profile(&self, handle: u64) -> Result<(Profile, usize), Failure> {
        match self.handles.get(&handle) {
            Some(Stage::Up { profile, max_write }) => Ok((*profile, *max_write)),
            stage => broken(format!("{}: link {handle} should be up but is {stage:?}", self.name)),
        }
    }

    /// One send that keeps the contract, with its answer checked.
    pub(super) fn send_once(&mut self, handle: u64, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let (profile, _) = self.profile(handle)?;
        match self.shim.send(handle, bytes.to_vec()) {
            SendResult::Busy => Ok(None),
            SendResult::Accepted { bytes: n } => {
                let n = n as usize;
                let fine = match profile {
                    Profile::Stream => (1..=bytes.len()).contains(&n),
                    Profile::Packet => n == bytes.len(),
                };
                if fine {
                    Ok(Some(n))
                } else {
                    broken(format!("{}: a send of {} bytes accepted {n}", self.name, bytes.len()))
                }
            }
        }
    }

    /// Sends everything: in pieces on a stream, one packet of it at a time on a packet link.
    pub(super) fn send_all(&mut self, handle: u64, mut bytes: &[u8]) -> Result<(), Failure> {
        let (_, max_write) = self.profile(handle)?;
        while !bytes.is_empty() {
            let piece = &bytes[..bytes.len().min(max_write)];
            match self.send_once(handle, piece)? {
                Some(n) => bytes = &bytes[n..],
                None => self.writable(handle)?,
            }
        }
        Ok(())
    }

    /// Stops the radio, waits for the end of everything, and checks what holds always.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        self.shim.stop();
        let deadline = Instant::now() + self.patience;
        while self.handles.values().any(|stage| *stage != Stage::Ended) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else {
                return broken(format!("{}: stop left links or connects: {:?}", self.name, self.handles));
            };
            self.watch(&event);
        }
        // What was on its way.
        self.listen();
        self.stopped = true;
        self.seen.clear();
        self.never("a report after stop", |_| true)?;
        self.violation.take().map_or(Ok(()), broken)
    }

    fn violate(&mut self, what: String) {
        if self.violation.is_none() {
            self.violation = Some(format!("{}: {what}", self.name));
        }
    }

    /// Checks a report against the rules that hold always.
    fn watch(&mut self, event: &RadioEvent) {
        match event {
            RadioEvent::Incoming { handle, kind, max_write } => {
                if handle % 2 == 0 || self.handles.contains_key(handle) {
                    self.violate(format!("incoming handle {handle} is not a new odd one"));
                }
                self.set_up(*handle, *kind, *max_write);
            }
            RadioEvent::LinkUp { handle, kind, max_write } => {
                if self.handles.get(handle) != Some(&Stage::Connecting) {
                    self.violate(format!("link_up of {handle}, which is {:?}", self.handles.get(handle)));
                }
                self.set_up(*handle, *kind, *max_write);
            }
            RadioEvent::LinkFailed { handle, .. } => {
                if self.handles.insert(*handle, Stage::Ended) != Some(Stage::Connecting) {
                    self.violate(format!("link_failed of {handle}, which was not connecting"));
                }
            }
            RadioEvent::LinkDown { handle, .. } => {
                if !matches!(self.handles.insert(*handle, Stage::Ended), Some(Stage::Up { .. })) {
                    self.violate(format!("link_down of {handle}, which was not up"));
                }
            }
            RadioEvent::Received { handle, bytes } => match self.handles.get(handle) {
                Some(Stage::Up { profile, .. }) => {
                    if bytes.is_empty() {
                        self.violate(format!("received on {handle} without bytes"));
                    } else if *profile == Profile::Stream && bytes.len() > MAX_PIECE {
                        self.violate(format!("received {} bytes at once", bytes.len()));
                    }
                }
                stage => self.violate(format!("received on {handle}, which is {stage:?}")),
            },
            RadioEvent::Writable { handle } => {
                if !matches!(self.handles.get(handle), Some(Stage::Up { .. })) {
                    self.violate(format!("writable on {handle}, which is not up"));
                }
            }
            RadioEvent::Discovered { .. } | RadioEvent::Lost { .. } | RadioEvent::Condition { .. } => {}
        }
    }

    fn set_up(&mut self, handle: u64, kind: RadioKind, max_write: u32) {
        let (profile, max_write) = (kind.profile(), max_write as usize);
        let least = if profile == Profile::Packet { MIN_PACKET } else { 1 };
        if max_write < least {
            self.violate(format!("max_write of {handle} is {max_write}, less than {least}"));
        }
        self.handles.insert(handle, Stage::Up { profile, max_write });
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // A case that failed leaves the radio running.
        if !self.stopped {
            self.shim.set_scanning(ScanMode::Off);
            self.shim.stop();
        }
    }
}

/// A report without its bytes, for messages.
fn shape(event: &RadioEvent) -> String {
    match event {
        RadioEvent::Received { handle, bytes } => format!("Received({handle}, {} bytes)", bytes.len()),
        other => format!("{other:?}"),
    }
}
