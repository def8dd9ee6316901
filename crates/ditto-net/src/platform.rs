//! The port for radios that only the platform can drive: Bluetooth LE, AWDL, Wi-Fi Aware, the LAN browsers of phones.
//!
//! A platform implements [`RadioShim`], in Rust, Swift or Kotlin. It moves bytes and reports what it sees to a
//! [`RadioSink`]. Everything that needs a decision is on this side: whom to dial and when, framing, retries, timeouts
//! and limits. Parameters are values, and every call in either direction returns at once.
//!
//! `docs/radios.md` is the contract in prose. Each of its lines is a case of [`conformance`], which runs against any
//! shim; [`loopback`] is the one that proves the kit and this port without a radio.
//!
//! | module | owns |
//! |---|---|
//! | `sink` | [`RadioSink`], where a shim reports |
//! | [`packet`] | the packet layer for radios that lose packets |
//! | `radio` | one radio: its links, what it discovered, its life |
//! | `link` | dialling and accepting over a radio, one task per link |
//! | `pump` | moving the bytes of one link between its pipe and the shim |
//! | [`loopback`] | a radio inside one process that is as awkward as the contract allows |
//! | [`conformance`] | the contract as tests |

use std::fmt;
use std::sync::Arc;

use ditto_mesh::transport::LinkKind;

pub mod conformance;
mod link;
pub mod loopback;
pub mod packet;
mod pump;
mod radio;
mod sink;

pub use radio::{Radio, RadioLimits};
pub(crate) use radio::{RadioHandle, no_such_radio, start};
pub use sink::{RadioEvent, RadioSink};

/// What carries a link of a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RadioKind {
    /// A Bluetooth LE L2CAP connection-oriented channel. Stream profile.
    L2cap,
    /// Writes and notifications of a Bluetooth LE characteristic. Packet profile.
    Gatt,
    /// A Wi-Fi Aware data path. Stream profile.
    WifiAware,
    /// Apple peer-to-peer Wi-Fi. Stream profile.
    Awdl,
    /// TCP over a LAN, found by the platform's own browser. Stream profile.
    Tcp,
}

/// What a link of a radio promises about bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Every accepted byte arrives, in order, in pieces of any size.
    Stream,
    /// Every send is one packet that arrives whole and in order, or not at all. The [`packet`] layer repairs that.
    Packet,
}

impl RadioKind {
    /// Which promise a link of this kind makes.
    pub fn profile(self) -> Profile {
        match self {
            RadioKind::Gatt => Profile::Packet,
            RadioKind::L2cap | RadioKind::WifiAware | RadioKind::Awdl | RadioKind::Tcp => Profile::Stream,
        }
    }

    /// The class of the link in connection choices and in the presence graph.
    pub fn link_kind(self) -> LinkKind {
        match self {
            RadioKind::L2cap | RadioKind::Gatt => LinkKind::Bluetooth,
            RadioKind::WifiAware | RadioKind::Awdl => LinkKind::P2PWiFi,
            RadioKind::Tcp => LinkKind::AccessPoint,
        }
    }
}

/// What a radio is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioConfig {
    /// The service to advertise and to look for, as a lower-case UUID. Only instances of one database and sync group
    /// share it.
    pub service_uuid: String,
    /// What to advertise, at most [`MAX_PAYLOAD`] bytes. A radio whose advertisements are too small for it lets others
    /// read it instead, before it reports [`RadioSink::discovered`].
    pub payload: Vec<u8>,
    /// Which roles the radio should play.
    pub role: RoleHint,
}

/// Longest advertised payload, in bytes.
pub const MAX_PAYLOAD: usize = 64;

/// Which roles a radio should play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleHint {
    /// Advertise, look for others, dial and accept.
    #[default]
    Both,
    /// Only look and dial.
    Central,
    /// Only advertise and accept.
    Peripheral,
}

/// How eagerly a radio looks for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanMode {
    /// Not at all.
    Off,
    /// With little power, for hours.
    Low,
    /// At once and with all power, for seconds.
    Burst,
}

/// What became of [`RadioShim::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// The radio took this many bytes from the front: at least 1 on a stream, all of them on a packet link.
    Accepted {
        /// How many.
        bytes: u32,
    },
    /// It took nothing. [`RadioSink::writable`] follows when it can, unless the link is gone.
    Busy,
}

/// Why a radio did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct RadioError {
    /// What is the matter.
    pub code: ConditionCode,
    /// In words, for the log.
    pub text: String,
}

/// The state of a radio, as told by [`RadioSink::condition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConditionCode {
    /// It works.
    Ok,
    /// The user or the system has switched it off.
    Off,
    /// The app has no permission to use it.
    PermissionMissing,
    /// This device has no such radio.
    Unsupported,
    /// It does not work while the app is in the background.
    Background,
    /// Something else.
    Failure,
}

impl fmt::Display for ConditionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConditionCode::Ok => "ok",
            ConditionCode::Off => "the radio is off",
            ConditionCode::PermissionMissing => "a permission is missing",
            ConditionCode::Unsupported => "this device has no such radio",
            ConditionCode::Background => "it does not work in the background",
            ConditionCode::Failure => "the radio fails",
        })
    }
}

/// Why a connect failed or a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndCode {
    /// [`RadioShim::close`] or [`RadioShim::stop`] was called on this side.
    ClosedHere,
    /// The other side closed it.
    ClosedThere,
    /// The other device is out of range, or unknown.
    Unreachable,
    /// The other device did not answer in time.
    Timeout,
    /// The radio went off.
    RadioOff,
    /// Something else.
    Failure,
}

impl fmt::Display for EndCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndCode::ClosedHere => "closed here",
            EndCode::ClosedThere => "closed by the other side",
            EndCode::Unreachable => "the device cannot be reached",
            EndCode::Timeout => "the device did not answer",
            EndCode::RadioOff => "the radio is off",
            EndCode::Failure => "the radio failed",
        })
    }
}

/// A radio, as the platform implements it. See `docs/radios.md` for the contract, line by line.
///
/// Every method returns at once and may be called from any thread, but never from inside a call to the [`RadioSink`].
/// The radio may call the sink from any thread, also while one of these methods runs; the calls about one handle come
/// one after the other.
pub trait RadioShim: Send + Sync {
    /// Begins to advertise `config.payload` and to accept, and reports to `sink` from now on. Scanning is off.
    ///
    /// # Errors
    /// When the radio cannot be used at all now. It is tried again later.
    fn start(&self, config: RadioConfig, sink: Arc<RadioSink>) -> Result<(), RadioError>;

    /// Replaces what is advertised; `None` advertises nothing.
    fn set_advertising(&self, payload: Option<Vec<u8>>);

    /// Looks for others more or less eagerly.
    fn set_scanning(&self, mode: ScanMode);

    /// Opens a link to a device that was reported as `discovered`. `handle` is even and new. Answered by exactly one
    /// [`RadioSink::link_up`] or [`RadioSink::link_failed`] within 20 s.
    fn connect(&self, handle: u64, discovered: u64);

    /// Takes bytes to send. [`SendResult::Busy`] for a handle that is not up.
    fn send(&self, handle: u64, bytes: Vec<u8>) -> SendResult;

    /// Ends a link after what it has accepted, or a connect that is under way. Answered by exactly one
    /// [`RadioSink::link_down`] or [`RadioSink::link_failed`], within 2 s. Other handles are ignored.
    fn close(&self, handle: u64);

    /// Ends every link and connect and goes silent, within 2 s. May be started again then.
    fn stop(&self);
}
