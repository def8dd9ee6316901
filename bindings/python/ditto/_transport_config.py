"""Which transports an instance uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from . import _ffi
from ._errors import DittoInvalidConfigError, native_errors


@dataclass(slots=True)
class BluetoothLEConfig:
    """Bluetooth Low Energy: 10 to 30 m, little power, no pairing."""

    enabled: bool = False
    """On or off. Where there is no adapter an event says so and nothing else happens."""


@dataclass(slots=True)
class LanConfig:
    """TCP on the local network."""

    enabled: bool = False
    mdns_enabled: bool = True
    """Find peers by mDNS, while enabled."""
    multicast_enabled: bool = True
    """Find peers by datagrams to a multicast group, while enabled."""


@dataclass(slots=True)
class AwdlConfig:
    """Apple Wireless Direct Link, the layer below AirDrop; ignored on other platforms than Apple's."""

    enabled: bool = False


@dataclass(slots=True)
class WifiAwareConfig:
    """Wi-Fi Aware, also called NAN; ignored on other platforms than Android."""

    enabled: bool = False


@dataclass(slots=True)
class PeerToPeer:
    """Direct links between devices."""

    bluetooth_le: BluetoothLEConfig = field(default_factory=BluetoothLEConfig)
    lan: LanConfig = field(default_factory=LanConfig)
    awdl: AwdlConfig = field(default_factory=AwdlConfig)
    wifi_aware: WifiAwareConfig = field(default_factory=WifiAwareConfig)


@dataclass(slots=True)
class Connect:
    """Outgoing connections to known addresses."""

    tcp_servers: set[str] = field(default_factory=set)
    """The ``host:port`` of each peer to dial."""
    websocket_urls: set[str] = field(default_factory=set)
    """The ``ws://`` or ``wss://`` URL of each peer to dial."""
    extra_roots: set[str] = field(default_factory=set)
    """PEM text of certificates that are trusted for ``wss://`` beside those of the system, as that of an
    organisation's own authority. The variables ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace those of the system.
    """
    retry_interval: timedelta = timedelta(seconds=5)
    """Longest time between attempts, from 100 ms to a day; jitter is added."""


@dataclass(slots=True)
class TcpListenConfig:
    """A TCP listener."""

    enabled: bool = False
    interface_ip: str = "[::]"
    """Address to listen on; ``[::]`` is every interface."""
    port: int = 4040
    """Port; 0 picks a free one, which `Sync.listen_address` then tells."""


@dataclass(slots=True)
class HttpListenConfig:
    """An HTTP listener. With key and certificate it speaks HTTPS, TLS 1.3."""

    enabled: bool = False
    interface_ip: str = "[::]"
    """Address to listen on; ``[::]`` is every interface."""
    port: int = 80
    """Port; 0 picks a free one, which `Sync.http_listen_address` then tells."""
    websocket_sync: bool = False
    """Takes WebSocket connections of peers, on every path."""
    static_content_path: str | None = None
    """Folder whose files are served."""
    tls_key_path: str | None = None
    """PEM file of the key. Needs the certificate too."""
    tls_certificate_path: str | None = None
    """PEM file of the certificate and what leads from it to a root. Needs the key too. Renewed files are
    noticed."""


@dataclass(slots=True)
class Listen:
    """Listeners on known addresses."""

    tcp: TcpListenConfig = field(default_factory=TcpListenConfig)
    http: HttpListenConfig = field(default_factory=HttpListenConfig)


@dataclass(slots=True)
class Global:
    """Settings for all transports."""

    sync_group: int = 0
    """Only devices of the same group connect by themselves. Not a security feature."""
    routing_hint: int = 0
    """Sent with every WebSocket connection that is made, for load balancers; 0 sends none."""


@dataclass(slots=True)
class TransportConfig:
    """Transports and their settings.

    A fresh value has everything off; a new instance starts with all peer-to-peer transports of the platform on.
    """

    peer_to_peer: PeerToPeer = field(default_factory=PeerToPeer)
    connect: Connect = field(default_factory=Connect)
    listen: Listen = field(default_factory=Listen)
    global_: Global = field(default_factory=Global)

    def to_json(self) -> str:
        """JSON text with the field names as keys, the same in every language; times in milliseconds."""
        with native_errors:
            text: str = _ffi.transport_config_to_json(to_native(self))
        return text

    @classmethod
    def from_json(cls, text: str) -> TransportConfig:
        """The config of what `to_json` made, here or elsewhere. Absent keys stand for the default.

        Raises:
            DittoValidationError: The text is not JSON, or longer than 1 MiB.
            DittoInvalidConfigError: A value is of the wrong kind or out of its range.
        """
        with native_errors:
            return from_native(_ffi.transport_config_from_json(text))

    def enable_all_peer_to_peer(self) -> TransportConfig:
        """Switches on every peer-to-peer transport that this platform has."""
        native = _ffi.peer_to_peer_transport_config().peer_to_peer
        self.peer_to_peer = _peer_to_peer(native)
        return self

    def disable_all_peer_to_peer(self) -> TransportConfig:
        """Switches off every peer-to-peer transport."""
        p2p = self.peer_to_peer
        for transport in (p2p.bluetooth_le, p2p.lan, p2p.awdl, p2p.wifi_aware):
            transport.enabled = False
        return self

    def add_tcp_server(self, address: str) -> TransportConfig:
        """Adds a ``host:port`` to dial."""
        self.connect.tcp_servers.add(address)
        return self

    def add_extra_root(self, pem: str) -> TransportConfig:
        """Trusts the certificates in a PEM text for ``wss://`` beside those of the system."""
        self.connect.extra_roots.add(pem)
        return self

    def add_websocket_url(self, url: str) -> TransportConfig:
        """Adds a ``ws://`` or ``wss://`` URL to dial."""
        self.connect.websocket_urls.add(url)
        return self

    def set_websocket_urls(self, urls: Iterable[str]) -> TransportConfig:
        """Replaces the URLs to dial."""
        self.connect.websocket_urls = set(urls)
        return self

    def enable_http_listen(
        self, interface_ip: str = "[::]", port: int = 80, websocket_sync: bool = False
    ) -> TransportConfig:
        """Listens for HTTP on an address, and for WebSocket connections of peers if wanted."""
        http = self.listen.http
        http.enabled, http.interface_ip, http.port = True, interface_ip, port
        http.websocket_sync = websocket_sync
        return self

    def set_http_tls(self, certificate: str, key: str) -> TransportConfig:
        """Makes the HTTP listener speak HTTPS, with PEM files of the certificate and its key."""
        self.listen.http.tls_certificate_path, self.listen.http.tls_key_path = certificate, key
        return self

    def set_static_content_path(self, folder: str) -> TransportConfig:
        """Serves the files of a folder on the HTTP listener."""
        self.listen.http.static_content_path = folder
        return self

    def set_routing_hint(self, hint: int) -> TransportConfig:
        """Sets the routing hint; 0 is none."""
        self.global_.routing_hint = hint
        return self

    def enable_tcp_listen(self, interface_ip: str = "[::]", port: int = 4040) -> TransportConfig:
        """Listens for TCP on an address."""
        self.listen.tcp = TcpListenConfig(True, interface_ip, port)
        return self

    def set_sync_group(self, group: int) -> TransportConfig:
        """Sets the sync group."""
        self.global_.sync_group = group
        return self


def to_native(config: TransportConfig) -> _ffi.TransportConfig:
    """The native form.

    Raises:
        DittoInvalidConfigError: A field is out of its range; the reason names it.
    """
    retry = config.connect.retry_interval
    if retry < timedelta(0):
        raise DittoInvalidConfigError("connect.retry_interval: negative")
    p2p, tcp, http = config.peer_to_peer, config.listen.tcp, config.listen.http
    for name, value, limit in (
        ("listen.tcp.port", tcp.port, 1 << 16),
        ("listen.http.port", http.port, 1 << 16),
        ("global_.sync_group", config.global_.sync_group, 1 << 32),
        ("global_.routing_hint", config.global_.routing_hint, 1 << 32),
    ):
        if not isinstance(value, int) or not 0 <= value < limit:
            raise DittoInvalidConfigError(f"{name}: {value!r} is not an integer from 0 to {limit - 1}")
    return _ffi.TransportConfig(
        peer_to_peer=_ffi.PeerToPeer(
            bluetooth_le=_ffi.BluetoothLeConfig(enabled=p2p.bluetooth_le.enabled),
            lan=_ffi.LanConfig(
                enabled=p2p.lan.enabled,
                mdns_enabled=p2p.lan.mdns_enabled,
                multicast_enabled=p2p.lan.multicast_enabled,
            ),
            awdl=_ffi.AwdlConfig(enabled=p2p.awdl.enabled),
            wifi_aware=_ffi.WifiAwareConfig(enabled=p2p.wifi_aware.enabled),
        ),
        connect=_ffi.Connect(
            tcp_servers=sorted(config.connect.tcp_servers),
            websocket_urls=sorted(config.connect.websocket_urls),
            extra_roots=sorted(config.connect.extra_roots),
            retry_interval_ms=retry // timedelta(milliseconds=1),
        ),
        listen=_ffi.Listen(
            tcp=_ffi.TcpListenConfig(enabled=tcp.enabled, interface_ip=tcp.interface_ip, port=tcp.port),
            http=_ffi.HttpListenConfig(
                enabled=http.enabled,
                interface_ip=http.interface_ip,
                port=http.port,
                websocket_sync=http.websocket_sync,
                static_content_path=http.static_content_path,
                tls_key_path=http.tls_key_path,
                tls_certificate_path=http.tls_certificate_path,
            ),
        ),
        # `global` is a keyword here.
        _global=_ffi.Global(sync_group=config.global_.sync_group, routing_hint=config.global_.routing_hint),
    )


def _peer_to_peer(native: _ffi.PeerToPeer) -> PeerToPeer:
    lan = native.lan
    return PeerToPeer(
        BluetoothLEConfig(native.bluetooth_le.enabled),
        LanConfig(lan.enabled, lan.mdns_enabled, lan.multicast_enabled),
        AwdlConfig(native.awdl.enabled),
        WifiAwareConfig(native.wifi_aware.enabled),
    )


def from_native(config: _ffi.TransportConfig) -> TransportConfig:
    """A copy that may be changed freely."""
    tcp, http = config.listen.tcp, config.listen.http
    return TransportConfig(
        peer_to_peer=_peer_to_peer(config.peer_to_peer),
        connect=Connect(
            tcp_servers=set(config.connect.tcp_servers),
            websocket_urls=set(config.connect.websocket_urls),
            extra_roots=set(config.connect.extra_roots),
            retry_interval=timedelta(milliseconds=config.connect.retry_interval_ms),
        ),
        listen=Listen(
            TcpListenConfig(tcp.enabled, tcp.interface_ip, tcp.port),
            HttpListenConfig(
                http.enabled,
                http.interface_ip,
                http.port,
                http.websocket_sync,
                http.static_content_path,
                http.tls_key_path,
                http.tls_certificate_path,
            ),
        ),
        global_=Global(config._global.sync_group, config._global.routing_hint),
    )
