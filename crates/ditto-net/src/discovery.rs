//! One picture of who is there, from several ways to find out.
//!
//! mDNS, multicast announcements and radios each report what they know by themselves. An instance has one token
//! everywhere, so here it becomes one `Discovered` with all its targets, and is `Lost` when nobody sees it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_mesh::transport::{DialTarget, NetEvent};
use tokio::sync::mpsc;

use crate::sink::{EventSink, Slot};
use crate::table::LinkTable;

/// Instances remembered at once, over all sources. Each source has its own, lower limit too.
const MAX_INSTANCES: usize = 2048;
/// Targets of one instance that are told.
const MAX_TARGETS: usize = 16;
/// Reports of one source under way. They wait only for a lock.
const REPORTS: usize = 16;

/// Who found something. Of the targets of one instance those of the smaller source come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Its datagram reached us from the address that is to be dialled.
    Multicast,
    Mdns,
    Radio(String),
}

/// A source, and which of its lives.
type Origin = (Source, u64);

/// Joins the reports of all sources. See the module documentation. Without a source no task runs for it.
#[derive(Default)]
pub(crate) struct Discovery {
    merged: Mutex<Merged>,
    /// Sources so far.
    sources: AtomicU64,
}

impl Discovery {
    /// A sink for one source, served by a task of `table`. What the source discovers is joined with what the others know
    /// and told to `sink`, as is everything else that it reports; the source stops with `sink`. When it drops its sink,
    /// what it has found is forgotten.
    pub(crate) fn source(
        self: &Arc<Self>,
        table: &Arc<LinkTable>,
        source: Source,
        sink: &EventSink,
    ) -> EventSink {
        // A source that is started again has a successor while its own end is still being noticed.
        let origin = (source, self.sources.fetch_add(1, Ordering::Relaxed));
        let (sender, reports) = mpsc::channel(REPORTS);
        table.spawn(self.clone().serve(origin, reports, sink.clone()));
        sink.with_events(sender)
    }

    async fn serve(self: Arc<Self>, origin: Origin, mut reports: mpsc::Receiver<NetEvent>, sink: EventSink) {
        loop {
            // What another source has changed meanwhile is told by the task of that one.
            let dirty = self.lock().is_dirty();
            tokio::select! {
                biased;
                report = reports.recv() => match report {
                    Some(NetEvent::Discovered { token, targets }) => self.lock().set(token, &origin, targets),
                    Some(NetEvent::Lost { token }) => self.lock().remove(&token, &origin),
                    Some(other) => drop(sink.emit(other).await),
                    None => break,
                },
                Some(slot) = sink.reserve(), if dirty => self.tell(slot),
            }
        }
        self.lock().clear(&origin);
        while self.lock().is_dirty() {
            let Some(slot) = sink.reserve().await else {
                return;
            };
            self.tell(slot);
        }
    }

    /// Under the lock until the event is taken, so that several tasks cannot swap two of them.
    fn tell(&self, slot: Slot<'_>) {
        let mut merged = self.lock();
        if let Some(event) = merged.next_event() {
            slot.fill(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Merged> {
        // Every change under the lock is one step.
        self.merged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each source knows, with what was last told of each instance.
///
/// Changes wait here and are joined, so that a slow consumer costs no memory and hears only of the last state.
#[derive(Default)]
struct Merged {
    found: BTreeMap<String, BTreeMap<Origin, Vec<DialTarget>>>,
    told: BTreeMap<String, Vec<DialTarget>>,
    dirty: BTreeSet<String>,
}

impl Merged {
    fn set(&mut self, token: String, source: &Origin, targets: Vec<DialTarget>) {
        if targets.is_empty() {
            self.remove(&token, source);
            return;
        }
        if !self.found.contains_key(&token) && self.found.len() >= MAX_INSTANCES {
            tracing::debug!(token, limit = MAX_INSTANCES, "discovered instance ignored: too many");
            return;
        }
        self.dirty.insert(token.clone());
        self.found.entry(token).or_default().insert(source.clone(), targets);
    }

    fn remove(&mut self, token: &str, source: &Origin) {
        if let Some(sources) = self.found.get_mut(token)
            && sources.remove(source).is_some()
        {
            if sources.is_empty() {
                self.found.remove(token);
            }
            self.dirty.insert(token.to_owned());
        }
    }

    fn clear(&mut self, source: &Origin) {
        let tokens: Vec<String> = self.found.keys().cloned().collect();
        for token in tokens {
            self.remove(&token, source);
        }
    }

    fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next thing to tell, if any of the changes still makes a difference.
    fn next_event(&mut self) -> Option<NetEvent> {
        while let Some(token) = self.dirty.pop_first() {
            match self.found.get(&token) {
                Some(sources) => {
                    let targets = joined(sources);
                    if self.told.get(&token) != Some(&targets) {
                        self.told.insert(token.clone(), targets.clone());
                        return Some(NetEvent::Discovered { token, targets });
                    }
                }
                None if self.told.remove(&token).is_some() => return Some(NetEvent::Lost { token }),
                None => {}
            }
        }
        None
    }
}

/// The targets of all sources, each once, the most promising first.
fn joined(sources: &BTreeMap<Origin, Vec<DialTarget>>) -> Vec<DialTarget> {
    let mut targets: Vec<DialTarget> = Vec::new();
    for target in sources.values().flatten() {
        if targets.len() < MAX_TARGETS && !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(name: &str) -> DialTarget {
        DialTarget::Tcp(name.to_owned())
    }

    fn ble() -> Origin {
        (Source::Radio("Bluetooth".to_owned()), 1)
    }

    fn mdns() -> Origin {
        (Source::Mdns, 2)
    }

    fn multicast() -> Origin {
        (Source::Multicast, 3)
    }

    fn told(merged: &mut Merged) -> Vec<(String, usize)> {
        std::iter::from_fn(|| merged.next_event())
            .map(|event| match event {
                NetEvent::Discovered { token, targets } => (token, targets.len()),
                NetEvent::Lost { token } => (token, 0),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn one_instance_found_several_ways_is_told_once_with_all_targets() {
        let mut m = Merged::default();
        m.set("a".into(), &ble(), vec![t("radio")]);
        m.set("a".into(), &mdns(), vec![t("1"), t("2")]);
        m.set("a".into(), &multicast(), vec![t("2")]);
        let targets = vec![t("2"), t("1"), t("radio")];
        assert_eq!(m.next_event(), Some(NetEvent::Discovered { token: "a".into(), targets }));
        assert_eq!(m.next_event(), None);
        m.remove("a", &multicast());
        assert_eq!(told(&mut m), [("a".to_owned(), 3)], "the order has changed");
        m.remove("a", &mdns());
        m.remove("a", &mdns());
        assert_eq!(told(&mut m), [("a".to_owned(), 1)]);
        m.remove("a", &ble());
        assert_eq!(told(&mut m), [("a".to_owned(), 0)]);
        assert!(m.found.is_empty() && m.told.is_empty() && !m.is_dirty());
    }

    #[test]
    fn only_differences_are_told_and_a_source_that_ends_takes_its_own_along() {
        let mut m = Merged::default();
        for source in [mdns(), multicast()] {
            m.set("a".into(), &source, vec![t("1")]);
        }
        m.set("b".into(), &mdns(), vec![t("2")]);
        assert_eq!(told(&mut m).len(), 2);
        m.set("a".into(), &mdns(), vec![t("1")]);
        m.set("c".into(), &ble(), vec![t("3")]);
        m.remove("c", &ble());
        assert_eq!(told(&mut m), [], "nothing that the consumer does not know already");
        m.clear(&mdns());
        assert_eq!(told(&mut m), [("b".to_owned(), 0)]);
        m.set("a".into(), &multicast(), Vec::new());
        assert_eq!(told(&mut m), [("a".to_owned(), 0)]);
    }

    #[test]
    fn instances_and_targets_are_bounded() {
        let mut m = Merged::default();
        for i in 0..MAX_INSTANCES + 10 {
            m.set(format!("t{i}"), &ble(), vec![t("x")]);
        }
        assert_eq!(told(&mut m).len(), MAX_INSTANCES);
        m.set("t1".into(), &mdns(), (0..50).map(|i| t(&i.to_string())).collect());
        assert_eq!(told(&mut m), [("t1".to_owned(), MAX_TARGETS)]);
    }

    #[tokio::test]
    async fn a_source_is_forgotten_when_it_drops_its_sink_and_conditions_pass() {
        let (sender, mut events) = mpsc::channel(1);
        let (sink, _stopper) = EventSink::new(sender);
        let table = LinkTable::new();
        let discovery = Arc::new(Discovery::default());
        let mdns = discovery.source(&table, Source::Mdns, &sink);
        let multicast = discovery.source(&table, Source::Multicast, &sink);
        let discovered = |target| NetEvent::Discovered { token: "a".to_owned(), targets: vec![t(target)] };
        mdns.emit(discovered("1")).await;
        assert_eq!(events.recv().await, Some(discovered("1")));
        multicast.emit(discovered("1")).await;
        let condition = NetEvent::Condition { source: "Multicast".to_owned(), text: "ok".to_owned() };
        multicast.emit(condition.clone()).await;
        assert_eq!(events.recv().await, Some(condition));
        drop(mdns);
        drop(multicast);
        assert_eq!(events.recv().await, Some(NetEvent::Lost { token: "a".to_owned() }));
        table.idle().await;
        assert_eq!(table.stats().tasks, 0, "no source, no task");
    }
}
