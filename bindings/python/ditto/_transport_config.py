"""Which transports an instance uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from . import _ffi
from ._errors import DittoInvalidConfigError


@dataclass(slots=True)
class LanConfig:
    """TCP on the local network."""

    enabled: bool = False
    mdns_enabled: bool = True
    """Find peers by mDNS, while enabled."""


@dataclass(slots=True)
class PeerToPeer:
    """Direct links between devices."""

    lan: LanConfig = field(default_factory=LanConfig)


@dataclass(slots=True)
class Connect:
    """Outgoing connections to known addresses."""

    tcp_servers: set[str] = field(default_factory=set)
    """The ``host:port`` of each peer to dial."""
    retry_interval: timedelta = timedelta(seconds=5)
    """Time between attempts; jitter is added."""


@dataclass(slots=True)
class TcpListenConfig:
    """A TCP listener."""

    enabled: bool = False
    interface_ip: str = "[::]"
    """Address to listen on; ``[::]`` is every interface."""
    port: int = 4040
    """Port; 0 picks a free one, which `Sync.listen_address` then tells."""


@dataclass(slots=True)
class Listen:
    """Listeners on known addresses."""

    tcp: TcpListenConfig = field(default_factory=TcpListenConfig)


@dataclass(slots=True)
class Global:
    """Settings for all transports."""

    sync_group: int = 0
    """Only devices of the same group connect by themselves. Not a security feature."""


@dataclass(slots=True)
class TransportConfig:
    """Transports and their settings.

    A fresh value has everything off; a new instance starts with all peer-to-peer transports of the platform on.
    """

    peer_to_peer: PeerToPeer = field(default_factory=PeerToPeer)
    connect: Connect = field(default_factory=Connect)
    listen: Listen = field(default_factory=Listen)
    global_: Global = field(default_factory=Global)

    def enable_all_peer_to_peer(self) -> TransportConfig:
        """Switches on every peer-to-peer transport that this platform has."""
        native = _ffi.peer_to_peer_transport_config().peer_to_peer
        self.peer_to_peer = PeerToPeer(LanConfig(native.lan.enabled, native.lan.mdns_enabled))
        return self

    def disable_all_peer_to_peer(self) -> TransportConfig:
        """Switches off every peer-to-peer transport."""
        self.peer_to_peer.lan.enabled = False
        return self

    def add_tcp_server(self, address: str) -> TransportConfig:
        """Adds a ``host:port`` to dial."""
        self.connect.tcp_servers.add(address)
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
    tcp = config.listen.tcp
    for name, value, limit in (
        ("listen.tcp.port", tcp.port, 1 << 16),
        ("global_.sync_group", config.global_.sync_group, 1 << 32),
    ):
        if not isinstance(value, int) or not 0 <= value < limit:
            raise DittoInvalidConfigError(f"{name}: {value!r} is not an integer from 0 to {limit - 1}")
    return _ffi.TransportConfig(
        peer_to_peer=_ffi.PeerToPeer(
            lan=_ffi.LanConfig(
                enabled=config.peer_to_peer.lan.enabled, mdns_enabled=config.peer_to_peer.lan.mdns_enabled
            )
        ),
        connect=_ffi.Connect(
            tcp_servers=sorted(config.connect.tcp_servers),
            retry_interval_ms=retry // timedelta(milliseconds=1),
        ),
        listen=_ffi.Listen(
            tcp=_ffi.TcpListenConfig(enabled=tcp.enabled, interface_ip=tcp.interface_ip, port=tcp.port)
        ),
        # `global` is a keyword here.
        _global=_ffi.Global(sync_group=config.global_.sync_group),
    )


def from_native(config: _ffi.TransportConfig) -> TransportConfig:
    """A copy that may be changed freely."""
    lan, tcp = config.peer_to_peer.lan, config.listen.tcp
    return TransportConfig(
        peer_to_peer=PeerToPeer(LanConfig(lan.enabled, lan.mdns_enabled)),
        connect=Connect(
            tcp_servers=set(config.connect.tcp_servers),
            retry_interval=timedelta(milliseconds=config.connect.retry_interval_ms),
        ),
        listen=Listen(TcpListenConfig(tcp.enabled, tcp.interface_ip, tcp.port)),
        global_=Global(config._global.sync_group),
    )
