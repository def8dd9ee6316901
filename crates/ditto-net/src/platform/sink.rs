//! Where a shim reports.

use std::fmt;

use super::{ConditionCode, EndCode, RadioKind};

/// Something that a shim reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadioEvent {
    /// See [`RadioSink::discovered`].
    Discovered {
        /// The device.
        id: u64,
        /// What it advertises.
        payload: Vec<u8>,
        /// Signal strength in dBm; 0 when unknown.
        rssi: i32,
    },
    /// See [`RadioSink::lost`].
    Lost {
        /// The device.
        id: u64,
    },
    /// See [`RadioSink::incoming`].
    Incoming {
        /// The link.
        handle: u64,
        /// What carries it.
        kind: RadioKind,
        /// Most bytes of one send.
        max_write: u32,
    },
    /// See [`RadioSink::link_up`].
    LinkUp {
        /// The link.
        handle: u64,
        /// What carries it.
        kind: RadioKind,
        /// Most bytes of one send.
        max_write: u32,
    },
    /// See [`RadioSink::link_failed`].
    LinkFailed {
        /// The link that did not come to be.
        handle: u64,
        /// Why.
        code: EndCode,
    },
    /// See [`RadioSink::received`].
    Received {
        /// The link.
        handle: u64,
        /// What arrived.
        bytes: Vec<u8>,
    },
    /// See [`RadioSink::writable`].
    Writable {
        /// The link.
        handle: u64,
    },
    /// See [`RadioSink::link_down`].
    LinkDown {
        /// The link.
        handle: u64,
        /// Why.
        code: EndCode,
    },
    /// See [`RadioSink::condition`].
    Condition {
        /// What is the matter.
        code: ConditionCode,
        /// In words.
        text: String,
    },
}

/// Where a shim reports. Every method may be called from any thread and returns at once: it takes the report down and
/// never calls back into the shim.
///
/// A wrong report, as about a handle that has ended, is ignored.
pub struct RadioSink {
    report: Box<dyn Fn(RadioEvent) + Send + Sync>,
}

impl fmt::Debug for RadioSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RadioSink")
    }
}

impl RadioSink {
    /// A sink that hands every report to `report`, which must return at once.
    pub fn new(report: impl Fn(RadioEvent) + Send + Sync + 'static) -> Self {
        Self { report: Box::new(report) }
    }

    /// A device of our service is in range, or advertises something else than before. `id` is the shim's name for it,
    /// valid until [`RadioSink::lost`]; `rssi` is its signal strength in dBm, 0 when unknown. May be repeated.
    pub fn discovered(&self, id: u64, payload: Vec<u8>, rssi: i32) {
        (self.report)(RadioEvent::Discovered { id, payload, rssi });
    }

    /// A device is out of range, or advertises nothing any more.
    pub fn lost(&self, id: u64) {
        (self.report)(RadioEvent::Lost { id });
    }

    /// Another device has opened a link. `handle` is odd and new. `max_write` is the most bytes that one send takes:
    /// at least 1, and on a packet link at least [`super::packet::MIN_PACKET`].
    pub fn incoming(&self, handle: u64, kind: RadioKind, max_write: u32) {
        (self.report)(RadioEvent::Incoming { handle, kind, max_write });
    }

    /// A connect has led to a link. `max_write` as in [`RadioSink::incoming`].
    pub fn link_up(&self, handle: u64, kind: RadioKind, max_write: u32) {
        (self.report)(RadioEvent::LinkUp { handle, kind, max_write });
    }

    /// A connect has led to nothing.
    pub fn link_failed(&self, handle: u64, code: EndCode) {
        (self.report)(RadioEvent::LinkFailed { handle, code });
    }

    /// Bytes arrived: any number above 0 on a stream, one whole packet on a packet link.
    pub fn received(&self, handle: u64, bytes: Vec<u8>) {
        (self.report)(RadioEvent::Received { handle, bytes });
    }

    /// The link takes bytes again after it was busy.
    pub fn writable(&self, handle: u64) {
        (self.report)(RadioEvent::Writable { handle });
    }

    /// The link has ended. The last report about the handle.
    pub fn link_down(&self, handle: u64, code: EndCode) {
        (self.report)(RadioEvent::LinkDown { handle, code });
    }

    /// The radio has stopped to work, or works again.
    pub fn condition(&self, code: ConditionCode, text: String) {
        (self.report)(RadioEvent::Condition { code, text });
    }
}
