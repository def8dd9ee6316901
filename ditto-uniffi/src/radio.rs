//! Radios that only the platform can drive: what an app implements for them, and where they report.
//!
//! `docs/radios.md` is the contract. A radio moves bytes and says what it sees; everything that needs a decision is on the
//! library's side. [`contract`] runs the contract's tests against a radio.

use std::sync::Arc;

use ditto::radio as core;

use crate::app::{App, awaited};
use crate::error::DittoError;
use crate::instance::Ditto;

pub mod contract;

/// A transport that needs a driver of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioTransport {
    /// Bluetooth Low Energy, while peer_to_peer.bluetooth_le is on.
    BluetoothLe,
    /// The local network through the platform's own browser, for systems that keep multicast from apps, while
    /// peer_to_peer.lan is on. mDNS and multicast go on beside it as configured.
    Lan,
    /// Peer-to-peer Wi-Fi of Apple devices, while peer_to_peer.awdl is on.
    Awdl,
    /// Wi-Fi Aware of Android devices, while peer_to_peer.wifi_aware is on.
    WifiAware,
}

/// What carries a link of a radio. It decides what the link promises about bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioKind {
    /// A Bluetooth LE L2CAP connection-oriented channel. A stream: every accepted byte arrives, in order, in pieces of any
    /// size.
    L2cap,
    /// Writes and notifications of a Bluetooth LE characteristic. Packets: every send arrives whole and in order, or not at
    /// all.
    Gatt,
    /// A Wi-Fi Aware data path. A stream.
    WifiAware,
    /// Apple peer-to-peer Wi-Fi. A stream.
    Awdl,
    /// TCP over a LAN, found by the platform's own browser. A stream.
    Tcp,
}

/// What a radio is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct RadioConfig {
    /// The service to advertise and to look for, as a lower-case UUID. Only instances of one database and sync group
    /// share it.
    pub service_uuid: String,
    /// What to advertise, at most 64 bytes. A radio whose advertisements are too small for it lets others read it instead,
    /// before it reports them as discovered.
    pub payload: Vec<u8>,
    /// Which roles the radio should play.
    pub role: RadioRole,
}

/// Which roles a radio should play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioRole {
    /// Advertise, look for others, dial and accept.
    Both,
    /// Only look and dial.
    Central,
    /// Only advertise and accept.
    Peripheral,
}

/// How eagerly a radio looks for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioScanMode {
    /// Not at all.
    Off,
    /// With little power, for hours.
    Low,
    /// At once and with all power, for seconds.
    Burst,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioSendResult {
    /// The radio took this many bytes from the front: at least 1 on a stream, all of them on a packet link.
    Accepted {
        /// How many.
        bytes: u32,
    },
    /// It took nothing. The sink's writable follows when it can, unless the link is gone.
    Busy,
}

/// The state of a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioCondition {
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

/// Why a connect failed or a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioEndCode {
    /// Close or stop was called on this side.
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

/// What a radio throws.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum RadioError {
    /// The radio cannot be used.
    #[error("{reason}")]
    Unusable {
        /// What is the matter with it.
        condition: RadioCondition,
        /// In words, for the log.
        reason: String,
    },
}

/// A radio, as the platform implements it.
///
/// Every method returns at once and may be called from any thread, but never from inside a call to the sink. The radio may
/// call the sink from any thread, also while one of these methods runs; the calls about one handle come one after the
/// other. What a method other than start throws is logged and counts as not done: a send was busy, and a connect is given up
/// when no answer came in time.
#[uniffi::export(with_foreign)]
pub trait RadioShim: Send + Sync {
    /// Begins to advertise the payload and to accept, and reports to the sink from now on. Scanning is off. An error means
    /// that the radio cannot be used at all now; it is tried again later.
    fn start(&self, config: RadioConfig, sink: Arc<RadioSink>) -> Result<(), RadioError>;

    /// Replaces what is advertised; nothing ends the advertisement.
    fn set_advertising(&self, payload: Option<Vec<u8>>) -> Result<(), RadioError>;

    /// Looks for others more or less eagerly.
    fn set_scanning(&self, mode: RadioScanMode) -> Result<(), RadioError>;

    /// Opens a link to a device that was reported as discovered. The handle is even and new. Answered by exactly one
    /// link_up or link_failed of the sink within 20 s.
    fn connect(&self, handle: u64, discovered: u64) -> Result<(), RadioError>;

    /// Takes bytes to send. Busy for a handle that is not up.
    fn send(&self, handle: u64, bytes: Vec<u8>) -> Result<RadioSendResult, RadioError>;

    /// Ends a link after what it has accepted, or a connect that is under way. Answered by exactly one link_down or
    /// link_failed of the sink, within 2 s. Other handles are ignored.
    fn close(&self, handle: u64) -> Result<(), RadioError>;

    /// Ends every link and connect and goes silent, within 2 s. May be started again then.
    fn stop(&self) -> Result<(), RadioError>;
}

/// Where a radio reports. Every method may be called from any thread and returns at once; it never calls the radio.
///
/// A wrong report, as about a handle that has ended, is ignored.
#[derive(uniffi::Object)]
pub struct RadioSink {
    inner: Arc<core::RadioSink>,
}

#[uniffi::export]
impl RadioSink {
    /// A device of our service is in range, or advertises something else than before. The id is the radio's own name for
    /// it, valid until it is lost; rssi is its signal strength in dBm, 0 when unknown. May be repeated.
    pub fn discovered(&self, id: u64, payload: &[u8], rssi: i32) {
        self.inner.discovered(id, payload.to_vec(), rssi);
    }

    /// A device is out of range, or advertises nothing any more.
    pub fn lost(&self, id: u64) {
        self.inner.lost(id);
    }

    /// Another device has opened a link. The handle is odd and new. One send takes at most max_write bytes, which is at
    /// least 1, and on a packet link at least 20.
    pub fn incoming(&self, handle: u64, kind: RadioKind, max_write: u32) {
        self.inner.incoming(handle, kind.into(), max_write);
    }

    /// A connect has led to a link. The limit of a send is as for incoming.
    pub fn link_up(&self, handle: u64, kind: RadioKind, max_write: u32) {
        self.inner.link_up(handle, kind.into(), max_write);
    }

    /// A connect has led to nothing.
    pub fn link_failed(&self, handle: u64, code: RadioEndCode) {
        self.inner.link_failed(handle, code.into());
    }

    /// Bytes arrived: any number above 0 on a stream, one whole packet on a packet link.
    pub fn received(&self, handle: u64, bytes: &[u8]) {
        self.inner.received(handle, bytes.to_vec());
    }

    /// The link takes bytes again after it was busy.
    pub fn writable(&self, handle: u64) {
        self.inner.writable(handle);
    }

    /// The link has ended. The last report about the handle.
    pub fn link_down(&self, handle: u64, code: RadioEndCode) {
        self.inner.link_down(handle, code.into());
    }

    /// The radio has stopped to work, or works again.
    pub fn condition(&self, condition: RadioCondition, text: String) {
        self.inner.condition(condition.into(), text);
    }
}

#[uniffi::export]
impl Ditto {
    /// Hands over the driver of a radio, of which there is at most one for each transport: it replaces an earlier one.
    ///
    /// It is used while sync runs and the transport is on in the transport config: started with the payload to advertise,
    /// asked to scan and to connect, and stopped when either ends. Other transports and their connections go on. A driver
    /// that cannot start does not fail this call: a condition event says why, and it is started again later.
    pub async fn attach_radio(
        &self,
        transport: RadioTransport,
        shim: Arc<dyn RadioShim>,
    ) -> Result<(), DittoError> {
        awaited(async {
            Ok(self.inner.attach_radio(transport.into(), Arc::new(Driver(App::new(shim)))).await?)
        })
        .await
    }

    /// Takes the driver of a radio back; it is stopped and its links end. Without one nothing happens.
    pub async fn detach_radio(&self, transport: RadioTransport) -> Result<(), DittoError> {
        awaited(async { Ok(self.inner.detach_radio(transport.into()).await?) }).await
    }
}

/// A radio of another language as the core wants it.
struct Driver(App<dyn RadioShim>);

impl core::RadioShim for Driver {
    fn start(&self, config: core::RadioConfig, sink: Arc<core::RadioSink>) -> Result<(), core::RadioError> {
        let started = self.0.call(|r| r.start(config.into(), Arc::new(RadioSink { inner: sink })));
        started.unwrap_or(Ok(())).map_err(|RadioError::Unusable { condition, reason }| core::RadioError {
            code: condition.into(),
            text: reason,
        })
    }

    fn set_advertising(&self, payload: Option<Vec<u8>>) {
        report("set_advertising", self.0.call(|r| r.set_advertising(payload)));
    }

    fn set_scanning(&self, mode: core::ScanMode) {
        report("set_scanning", self.0.call(|r| r.set_scanning(mode.into())));
    }

    fn connect(&self, handle: u64, discovered: u64) {
        report("connect", self.0.call(|r| r.connect(handle, discovered)));
    }

    fn send(&self, handle: u64, bytes: Vec<u8>) -> core::SendResult {
        match report("send", self.0.call(|r| r.send(handle, bytes))) {
            Some(RadioSendResult::Accepted { bytes }) => core::SendResult::Accepted { bytes },
            Some(RadioSendResult::Busy) | None => core::SendResult::Busy,
        }
    }

    fn close(&self, handle: u64) {
        report("close", self.0.call(|r| r.close(handle)));
    }

    fn stop(&self) {
        report("stop", self.0.call(|r| r.stop()));
    }
}

/// A radio that throws where it may not is the app's fault; the log is all there is to tell it.
fn report<T>(call: &str, outcome: Option<Result<T, RadioError>>) -> Option<T> {
    outcome?.inspect_err(|e| tracing::error!("{call} of a radio failed: {e}")).ok()
}

/// An exception that is none of a radio's own arrives as an error instead of ending the process.
impl From<uniffi::UnexpectedUniFFICallbackError> for RadioError {
    fn from(e: uniffi::UnexpectedUniFFICallbackError) -> Self {
        let reason = format!("the radio's code failed: {}", e.reason);
        Self::Unusable { condition: RadioCondition::Failure, reason }
    }
}

impl From<core::RadioConfig> for RadioConfig {
    fn from(c: core::RadioConfig) -> Self {
        let role = match c.role {
            core::RoleHint::Both => RadioRole::Both,
            core::RoleHint::Central => RadioRole::Central,
            core::RoleHint::Peripheral => RadioRole::Peripheral,
        };
        Self { service_uuid: c.service_uuid, payload: c.payload, role }
    }
}

impl From<core::ScanMode> for RadioScanMode {
    fn from(m: core::ScanMode) -> Self {
        match m {
            core::ScanMode::Off => Self::Off,
            core::ScanMode::Low => Self::Low,
            core::ScanMode::Burst => Self::Burst,
        }
    }
}

impl From<RadioTransport> for ditto::RadioTransport {
    fn from(t: RadioTransport) -> Self {
        match t {
            RadioTransport::BluetoothLe => Self::BluetoothLe,
            RadioTransport::Lan => Self::Lan,
            RadioTransport::Awdl => Self::Awdl,
            RadioTransport::WifiAware => Self::WifiAware,
        }
    }
}

impl From<RadioKind> for core::RadioKind {
    fn from(k: RadioKind) -> Self {
        match k {
            RadioKind::L2cap => Self::L2cap,
            RadioKind::Gatt => Self::Gatt,
            RadioKind::WifiAware => Self::WifiAware,
            RadioKind::Awdl => Self::Awdl,
            RadioKind::Tcp => Self::Tcp,
        }
    }
}

impl From<RadioCondition> for core::ConditionCode {
    fn from(c: RadioCondition) -> Self {
        match c {
            RadioCondition::Ok => Self::Ok,
            RadioCondition::Off => Self::Off,
            RadioCondition::PermissionMissing => Self::PermissionMissing,
            RadioCondition::Unsupported => Self::Unsupported,
            RadioCondition::Background => Self::Background,
            RadioCondition::Failure => Self::Failure,
        }
    }
}

impl From<RadioEndCode> for core::EndCode {
    fn from(c: RadioEndCode) -> Self {
        match c {
            RadioEndCode::ClosedHere => Self::ClosedHere,
            RadioEndCode::ClosedThere => Self::ClosedThere,
            RadioEndCode::Unreachable => Self::Unreachable,
            RadioEndCode::Timeout => Self::Timeout,
            RadioEndCode::RadioOff => Self::RadioOff,
            RadioEndCode::Failure => Self::Failure,
        }
    }
}
