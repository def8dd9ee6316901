//! Which links a transport has, what is queued on them, and how many tasks serve it.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_mesh::transport::{ACCEPTED_LINK_BIT, LinkId};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::tcp::MAX_PER_ADDRESS;

/// A snapshot of what a transport holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Links that are open or being dialled.
    pub links: usize,
    /// Tasks that run for links, dials, the listener and discovery.
    pub tasks: usize,
    /// Bytes given to `write` that have not left yet, over all links.
    pub queued_bytes: usize,
}

/// The link's side of a table entry.
pub(crate) struct LinkPort {
    /// What the transport was asked to write, in order. Ends after the last write when the link is closed.
    pub(crate) outbox: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Resolves when the link is closed from this side.
    pub(crate) closed: oneshot::Receiver<()>,
    /// Bytes written to the entry and not yet taken by the operating system.
    pub(crate) queued: Arc<AtomicUsize>,
}

struct Entry {
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    /// Dropped with the entry, which is what tells the link.
    _close: oneshot::Sender<()>,
    queued: Arc<AtomicUsize>,
    /// The socket, where it can be written without the task of the link.
    direct: Option<Arc<OwnedWriteHalf>>,
    /// Where an accepted link comes from, if that is counted.
    from: Option<IpAddr>,
}

impl Entry {
    fn write(&self, bytes: Vec<u8>) {
        let len = bytes.len();
        self.queued.fetch_add(len, Ordering::Relaxed);
        // Fails only when the link has just ended by itself, which its own event will tell.
        if self.outbox.send(bytes).is_err() {
            self.queued.fetch_sub(len, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Links {
    entries: HashMap<LinkId, Entry>,
    accepted: usize,
    /// Accepted links by where they come from.
    addresses: HashMap<IpAddr, usize>,
    last_accepted: u64,
    shut: bool,
}

impl Links {
    fn insert(&mut self, link: LinkId, from: Option<IpAddr>) -> LinkPort {
        let (outbox, outbox_end) = mpsc::unbounded_channel();
        let (close, closed) = oneshot::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        self.entries
            .insert(link, Entry { outbox, _close: close, queued: queued.clone(), direct: None, from });
        LinkPort { outbox: outbox_end, closed, queued }
    }
}

/// The links of one transport. An entry lives from the dial or accept until the link is closed from either side.
pub(crate) struct LinkTable {
    links: Mutex<Links>,
    tasks: watch::Sender<usize>,
    runtime: Handle,
}

/// Why a dialled link was not entered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DialRefusal {
    /// The transport is shut down: nothing is answered any more.
    Shut,
    /// The id is in use; an answer would be taken for one about the other link.
    Duplicate,
    /// The id has the bit of accepted links.
    Reserved,
}

/// Why an accepted link was not entered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AcceptRefusal {
    Shut,
    /// As many accepted links as allowed are open.
    Full,
    /// As many as allowed are open from one address.
    FullForAddress,
}

impl LinkTable {
    /// Must be called inside a tokio runtime, which then runs the tasks.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            links: Mutex::new(Links::default()),
            tasks: watch::Sender::new(0),
            runtime: Handle::current(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        // Every change under the lock is one step, so that a panic elsewhere cannot leave it half done.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn dialled(&self, link: LinkId) -> Result<LinkPort, DialRefusal> {
        if link.is_accepted() {
            return Err(DialRefusal::Reserved);
        }
        let mut links = self.lock();
        if links.shut {
            return Err(DialRefusal::Shut);
        }
        if links.entries.contains_key(&link) {
            return Err(DialRefusal::Duplicate);
        }
        Ok(links.insert(link, None))
    }

    /// Enters an accepted link under a new id, unless `limit` of them are open, or too many from the address.
    pub(crate) fn accepted(
        &self,
        limit: usize,
        from: Option<IpAddr>,
    ) -> Result<(LinkId, LinkPort), AcceptRefusal> {
        let from = from.and_then(counted);
        let mut links = self.lock();
        if links.shut {
            return Err(AcceptRefusal::Shut);
        }
        if links.accepted >= limit {
            return Err(AcceptRefusal::Full);
        }
        if let Some(from) = from {
            let open = links.addresses.entry(from).or_default();
            if *open >= MAX_PER_ADDRESS {
                return Err(AcceptRefusal::FullForAddress);
            }
            *open += 1;
        }
        links.accepted += 1;
        links.last_accepted += 1;
        let link = LinkId(links.last_accepted | ACCEPTED_LINK_BIT);
        let port = links.insert(link, from);
        Ok((link, port))
    }

    pub(crate) fn write(&self, link: LinkId, bytes: Vec<u8>) {
        if let Some(entry) = self.lock().entries.get(&link) {
            entry.write(bytes);
        }
    }

    /// As `write`, but what the socket takes at once goes there at once: how many bytes.
    pub(crate) fn write_now(&self, link: LinkId, mut bytes: Vec<u8>) -> usize {
        let links = self.lock();
        let Some(entry) = links.entries.get(&link) else { return 0 };
        let mut taken = 0;
        if let Some(socket) = &entry.direct
            // The task of the link has written all that came before, and has nothing to write until it gets more from here.
            && entry.queued.load(Ordering::Acquire) == 0
        {
            // A socket that is full or broken is left to the task, which waits or says so.
            taken = socket.try_write(&bytes).unwrap_or_default();
        }
        if taken == bytes.len() {
            return taken;
        }
        if taken > 0 {
            bytes.drain(..taken);
        }
        entry.write(bytes);
        taken
    }

    /// Lets `write_now` write to the socket of a link.
    pub(crate) fn set_direct(&self, link: LinkId, socket: Arc<OwnedWriteHalf>) {
        if let Some(entry) = self.lock().entries.get_mut(&link) {
            entry.direct = Some(socket);
        }
    }

    /// Removes the entry, which makes the link finish its writes and end.
    pub(crate) fn remove(&self, link: LinkId) {
        let mut links = self.lock();
        let Some(entry) = links.entries.remove(&link) else {
            return;
        };
        if link.is_accepted() {
            links.accepted -= 1;
        }
        if let Some(from) = entry.from
            && let Some(open) = links.addresses.get_mut(&from)
        {
            *open -= 1;
            if *open == 0 {
                links.addresses.remove(&from);
            }
        }
    }

    /// Removes every entry and refuses new ones.
    pub(crate) fn shut(&self) {
        let mut links = self.lock();
        links.shut = true;
        links.entries.clear();
        links.accepted = 0;
        links.addresses.clear();
    }

    pub(crate) fn stats(&self) -> NetStats {
        let links = self.lock();
        NetStats {
            links: links.entries.len(),
            tasks: *self.tasks.borrow(),
            queued_bytes: links.entries.values().map(|e| e.queued.load(Ordering::Relaxed)).sum(),
        }
    }

    /// Runs `work` as a counted task.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.send_modify(|n| *n += 1);
        let guard = TaskGuard(self.clone());
        self.runtime.spawn(async move {
            let _guard = guard;
            work.await;
        });
    }

    /// Returns once no counted task runs.
    pub(crate) async fn idle(&self) {
        let mut tasks = self.tasks.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = tasks.wait_for(|n| *n == 0).await;
    }
}

/// The address under which links are counted: a machine often has a whole /64 of IPv6. Processes of this machine are not
/// kept from it.
fn counted(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => Some(IpAddr::V4(ip)),
        IpAddr::V6(ip) => Some(IpAddr::V6((ip.to_bits() >> 64 << 64).into())),
    }
}

/// Counts a task down even when it panics or is dropped with the runtime.
struct TaskGuard(Arc<LinkTable>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|n| *n -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ids_are_checked_and_accepted_links_are_capped() {
        let table = LinkTable::new();
        let _first = table.dialled(LinkId(7)).unwrap();
        assert_eq!(table.dialled(LinkId(7)).err(), Some(DialRefusal::Duplicate));
        assert_eq!(table.dialled(LinkId(ACCEPTED_LINK_BIT | 1)).err(), Some(DialRefusal::Reserved));
        let (a, _port_a) = table.accepted(2, None).unwrap();
        let (b, _port_b) = table.accepted(2, None).unwrap();
        assert!(a.is_accepted() && b.is_accepted() && a != b);
        assert_eq!(table.accepted(2, None).err(), Some(AcceptRefusal::Full));
        table.remove(a);
        table.remove(a);
        let (c, _port_c) = table.accepted(2, None).unwrap();
        assert!(c != a && c != b, "ids are never reused");
        table.shut();
        assert_eq!(table.dialled(LinkId(8)).err(), Some(DialRefusal::Shut));
        assert_eq!(table.accepted(2, None).err(), Some(AcceptRefusal::Shut));
        assert_eq!(table.stats(), NetStats::default());
    }

    #[tokio::test]
    async fn one_address_cannot_take_every_place() {
        let table = LinkTable::new();
        let from = |ip: &str| Some(ip.parse().unwrap());
        let mut links = Vec::new();
        for _ in 0..MAX_PER_ADDRESS {
            links.push(table.accepted(512, from("2001:db8::1")).unwrap().0);
        }
        assert_eq!(table.accepted(512, from("2001:db8::2")).err(), Some(AcceptRefusal::FullForAddress));
        assert!(table.accepted(512, from("2001:db8:0:1::1")).is_ok());
        assert!(table.accepted(512, from("192.0.2.1")).is_ok());
        for _ in 0..=MAX_PER_ADDRESS {
            assert!(table.accepted(512, from("::ffff:127.0.0.1")).is_ok());
        }
        table.remove(links[0]);
        table.remove(links[0]);
        assert!(table.accepted(512, from("2001:db8::2")).is_ok());
        assert_eq!(table.accepted(512, from("2001:db8::2")).err(), Some(AcceptRefusal::FullForAddress));
        links.drain(..).for_each(|link| table.remove(link));
        assert_eq!(table.lock().addresses.len(), 3);
    }

    #[tokio::test]
    async fn a_closed_entry_keeps_earlier_writes_and_ignores_later_ones() {
        let table = LinkTable::new();
        let mut port = table.dialled(LinkId(1)).unwrap();
        table.write(LinkId(1), vec![1, 2, 3]);
        assert_eq!(table.stats().queued_bytes, 3);
        table.remove(LinkId(1));
        table.write(LinkId(1), vec![4]);
        assert_eq!(port.outbox.recv().await, Some(vec![1, 2, 3]));
        assert_eq!(port.outbox.recv().await, None);
        assert!(port.closed.await.is_err());
    }
}
