//! Radios that only the platform can drive: Bluetooth LE, AWDL, Wi-Fi Aware, the LAN browsers of phones.
//!
//! A platform implements [`RadioShim`], which moves bytes and reports to a [`RadioSink`], and the app hands it over with
//! [`Ditto::attach_radio`](crate::Ditto::attach_radio). Everything that needs a decision stays in this library.
//! `docs/radios.md` is the contract in prose, [`conformance`] the same as tests, [`loopback`] a radio for tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ditto_mesh::transport::LinkKind;
pub use ditto_net::platform::{
    ConditionCode, EndCode, MAX_PAYLOAD, Profile, RadioConfig, RadioError, RadioKind, RadioShim, RadioSink,
    RoleHint, ScanMode, SendResult, conformance, loopback,
};
use ditto_net::platform::{Radio, RadioLimits};
use ditto_types::DatabaseId;

use crate::transport_config::TransportConfig;

/// A transport that needs a driver of the platform; see [`Ditto::attach_radio`](crate::Ditto::attach_radio).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RadioTransport {
    /// Bluetooth Low Energy, while `peer_to_peer.bluetooth_le` is on.
    BluetoothLe,
    /// The local network through the platform's own browser, for systems that keep multicast from apps, while
    /// `peer_to_peer.lan` is on. mDNS and multicast go on beside it as configured.
    Lan,
    /// Peer-to-peer Wi-Fi of Apple devices, while `peer_to_peer.awdl` is on.
    Awdl,
    /// Wi-Fi Aware of Android devices, while `peer_to_peer.wifi_aware` is on.
    WifiAware,
}

/// The drivers of an instance.
pub(crate) type Radios = BTreeMap<RadioTransport, Arc<dyn RadioShim>>;

impl RadioTransport {
    pub(crate) const ALL: [Self; 4] = [Self::BluetoothLe, Self::Lan, Self::Awdl, Self::WifiAware];

    /// Its name in conditions and in diagnostics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BluetoothLe => "Bluetooth",
            Self::Lan => "LanBrowser",
            Self::Awdl => "Awdl",
            Self::WifiAware => "WifiAware",
        }
    }

    pub(crate) fn is_enabled(self, config: &TransportConfig) -> bool {
        let p2p = &config.peer_to_peer;
        match self {
            Self::BluetoothLe => p2p.bluetooth_le.enabled,
            Self::Lan => p2p.lan.enabled,
            Self::Awdl => p2p.awdl.enabled,
            Self::WifiAware => p2p.wifi_aware.enabled,
        }
    }

    /// Whether users of this platform should hear that there is no driver. AWDL and Wi-Fi Aware are silently absent from
    /// platforms that never have them (API-251, API-253), and the LAN has other ways.
    pub(crate) fn is_expected(self) -> bool {
        match self {
            Self::BluetoothLe => true,
            Self::Lan => false,
            Self::Awdl => cfg!(target_vendor = "apple"),
            Self::WifiAware => cfg!(target_os = "android"),
        }
    }

    fn kind_and_limits(self) -> (LinkKind, RadioLimits) {
        match self {
            Self::BluetoothLe => (LinkKind::Bluetooth, RadioLimits::BLUETOOTH),
            Self::Lan => (LinkKind::AccessPoint, RadioLimits::LAN),
            Self::Awdl | Self::WifiAware => (LinkKind::P2PWiFi, RadioLimits::P2P_WIFI),
        }
    }
}

impl fmt::Display for RadioTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The radios that are switched on and have a driver.
pub(crate) fn in_use(
    config: &TransportConfig,
    radios: &Radios,
    database: &DatabaseId,
    token: &str,
) -> Vec<Radio> {
    let enabled = radios.iter().filter(|(transport, _)| transport.is_enabled(config));
    enabled
        .map(|(transport, shim)| {
            let (kind, limits) = transport.kind_and_limits();
            Radio {
                name: transport.name().to_owned(),
                shim: shim.clone(),
                service_uuid: ditto_mesh::discovery_service_uuid(database, config.global.sync_group),
                token: token.to_owned(),
                role: RoleHint::default(),
                kind,
                limits,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::loopback::{LoopbackAir, LoopbackConfig};
    use super::*;
    use crate::transports::mesh_settings;

    #[test]
    fn radios_are_used_where_they_are_on_and_have_a_driver() {
        let mut config = TransportConfig::new();
        let mut radios = Radios::new();
        let database = DatabaseId::DEFAULT;
        let told = |c: &TransportConfig, r: &Radios| mesh_settings(c, r).conditions.len();
        let names = |c: &TransportConfig, r: &Radios| -> Vec<String> {
            in_use(c, r, &database, "t").into_iter().map(|radio| radio.name).collect()
        };
        assert_eq!((told(&config, &radios), names(&config, &radios).len()), (0, 0));
        config.peer_to_peer.bluetooth_le.enabled = true;
        assert_eq!((told(&config, &radios), names(&config, &radios).len()), (1, 0));
        let air = LoopbackAir::new(LoopbackConfig::plain(RadioKind::L2cap));
        for transport in RadioTransport::ALL {
            radios.insert(transport, air.radio());
        }
        assert_eq!((told(&config, &radios), names(&config, &radios)), (0, vec!["Bluetooth".to_owned()]));
        config.peer_to_peer.bluetooth_le.enabled = false;
        assert_eq!((told(&config, &radios), names(&config, &radios).len()), (0, 0));
        // The service is that of the database and the group.
        config.peer_to_peer.lan.enabled = true;
        let service = |c: &TransportConfig| in_use(c, &radios, &database, "t")[0].service_uuid.clone();
        let before = service(&config);
        config.set_sync_group(7);
        assert_ne!(before, service(&config));
    }
}
