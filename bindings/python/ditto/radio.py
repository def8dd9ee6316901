"""Radios that only the platform can drive: Bluetooth LE, AWDL, Wi-Fi Aware, the LAN browsers of phones.

Implement `RadioShim`, and hand it over with `Ditto.attach_radio`. It moves bytes and says what it sees;
everything that needs a decision, as whom to dial, framing, retries and limits, is in the library. `contract`
lists what a radio must do, line by line, and `check` tests it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal

from . import _ffi

__all__ = [
    "RadioCase",
    "RadioCondition",
    "RadioConfig",
    "RadioEndCode",
    "RadioError",
    "RadioKind",
    "RadioOutcome",
    "RadioRig",
    "RadioRole",
    "RadioScanMode",
    "RadioShim",
    "RadioSink",
    "RadioTransport",
    "check",
    "contract",
]


class RadioTransport(Enum):
    """A transport that needs a driver of the platform."""

    BLUETOOTH_LE = "bluetooth_le"
    """Bluetooth Low Energy, while ``peer_to_peer.bluetooth_le`` is on."""
    LAN = "lan"
    """The local network through the platform's own browser, while ``peer_to_peer.lan`` is on."""
    AWDL = "awdl"
    """Peer-to-peer Wi-Fi of Apple devices, while ``peer_to_peer.awdl`` is on."""
    WIFI_AWARE = "wifi_aware"
    """Wi-Fi Aware of Android devices, while ``peer_to_peer.wifi_aware`` is on."""


class RadioKind(Enum):
    """What carries a link of a radio.

    On all but ``GATT`` every accepted byte arrives, in order, in pieces of any size. On ``GATT`` every send is
    one packet that arrives whole and in order, or not at all.
    """

    L2CAP = "l2cap"
    GATT = "gatt"
    WIFI_AWARE = "wifi_aware"
    AWDL = "awdl"
    TCP = "tcp"


class RadioRole(Enum):
    """Which roles a radio should play."""

    BOTH = "both"
    """Advertise, look for others, dial and accept."""
    CENTRAL = "central"
    """Only look and dial."""
    PERIPHERAL = "peripheral"
    """Only advertise and accept."""


class RadioScanMode(Enum):
    """How eagerly a radio looks for others."""

    OFF = "off"
    LOW = "low"
    """With little power, for hours."""
    BURST = "burst"
    """At once and with all power, for seconds."""


class RadioCondition(Enum):
    """The state of a radio."""

    OK = "ok"
    OFF = "off"
    """The user or the system has switched it off."""
    PERMISSION_MISSING = "permission_missing"
    UNSUPPORTED = "unsupported"
    """This device has no such radio."""
    BACKGROUND = "background"
    """It does not work while the app is in the background."""
    FAILURE = "failure"


class RadioEndCode(Enum):
    """Why a connect failed or a link ended."""

    CLOSED_HERE = "closed_here"
    """`RadioShim.close` or `RadioShim.stop` was called on this side."""
    CLOSED_THERE = "closed_there"
    UNREACHABLE = "unreachable"
    """The other device is out of range, or unknown."""
    TIMEOUT = "timeout"
    RADIO_OFF = "radio_off"
    FAILURE = "failure"


class RadioError(Exception):
    """The radio cannot be used.

    Attributes:
        condition: What is the matter with it.
        reason: In words, for the log.
    """

    def __init__(self, condition: RadioCondition, reason: str) -> None:
        super().__init__(condition, reason)
        self.condition: Final = condition
        self.reason: Final = reason

    def __str__(self) -> str:
        return f"{self.condition.value}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RadioConfig:
    """What a radio is told when it starts.

    Attributes:
        service_uuid: The service to advertise and to look for, in lower case. Only instances of one database and
            sync group share it.
        payload: What to advertise, at most 64 bytes. A radio whose advertisements are too small for it lets
            others read it instead, before it reports them as discovered.
        role: Which roles it should play.
    """

    service_uuid: str
    payload: bytes
    role: RadioRole


class RadioSink:
    """Where a radio reports.

    Every method may be called from any thread and returns at once; it never calls the radio. A wrong report, as
    about a handle that has ended, is ignored.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _ffi.RadioSink) -> None:
        self._native = native

    def discovered(self, device: int, payload: bytes, rssi: int = 0) -> None:
        """A device of our service is in range, or advertises something else than before.

        ``device`` is the radio's own number for it, valid until it is lost; ``rssi`` is in dBm, 0 when unknown.
        """
        self._native.discovered(device, payload, rssi)

    def lost(self, device: int) -> None:
        """A device is out of range, or advertises nothing any more."""
        self._native.lost(device)

    def incoming(self, handle: int, kind: RadioKind, max_write: int) -> None:
        """Another device has opened a link. The handle is odd and new.

        One send takes at most ``max_write`` bytes, which is at least 1, and on a packet link at least 20.
        """
        self._native.incoming(handle, _ffi.RadioKind[kind.name], max_write)

    def link_up(self, handle: int, kind: RadioKind, max_write: int) -> None:
        """A connect has led to a link; ``max_write`` as for `incoming`."""
        self._native.link_up(handle, _ffi.RadioKind[kind.name], max_write)

    def link_failed(self, handle: int, code: RadioEndCode) -> None:
        """A connect has led to nothing."""
        self._native.link_failed(handle, _ffi.RadioEndCode[code.name])

    def received(self, handle: int, data: bytes) -> None:
        """Bytes arrived: any number above 0 on a stream, one whole packet on a packet link."""
        self._native.received(handle, data)

    def writable(self, handle: int) -> None:
        """The link takes bytes again after it was busy."""
        self._native.writable(handle)

    def link_down(self, handle: int, code: RadioEndCode) -> None:
        """The link has ended. The last report about the handle."""
        self._native.link_down(handle, _ffi.RadioEndCode[code.name])

    def condition(self, condition: RadioCondition, text: str) -> None:
        """The radio has stopped to work, or works again."""
        self._native.condition(_ffi.RadioCondition[condition.name], text)


class RadioShim(ABC):
    """A radio, as the platform implements it.

    Every method returns at once and is called on threads of the library, never from inside a call to the sink.
    The radio may call the sink from any thread, also while one of these methods runs; the calls about one handle
    come one after the other. What a method other than `start` raises is logged and counts as not done.
    """

    @abstractmethod
    def start(self, config: RadioConfig, sink: RadioSink) -> None:
        """Begins to advertise the payload and to accept, and reports to the sink from now on. Scanning is off.

        Raises:
            RadioError: The radio cannot be used at all now; it is tried again later.
        """

    @abstractmethod
    def set_advertising(self, payload: bytes | None) -> None:
        """Replaces what is advertised; ``None`` ends the advertisement."""

    @abstractmethod
    def set_scanning(self, mode: RadioScanMode) -> None:
        """Looks for others more or less eagerly."""

    @abstractmethod
    def connect(self, handle: int, device: int) -> None:
        """Opens a link to a device that was reported as discovered. The handle is even and new.

        Answered by exactly one `RadioSink.link_up` or `RadioSink.link_failed` within 20 s.
        """

    @abstractmethod
    def send(self, handle: int, data: bytes) -> int | None:
        """Takes bytes to send and returns how many: at least 1 on a stream, all of them on a packet link.

        ``None`` is busy: it took nothing, and `RadioSink.writable` follows when it can. So is a handle that is
        not up, of which nothing follows.
        """

    @abstractmethod
    def close(self, handle: int) -> None:
        """Ends a link after what it has accepted, or a connect that is under way; ignores other handles.

        Answered by exactly one `RadioSink.link_down` or `RadioSink.link_failed`, within 2 s.
        """

    @abstractmethod
    def stop(self) -> None:
        """Ends every link and connect and goes silent, within 2 s. May be started again then."""


class Driver(_ffi.RadioShim):
    """A radio as the native module wants it."""

    def __init__(self, shim: RadioShim) -> None:
        self._shim = shim

    def start(self, config: _ffi.RadioConfig, sink: _ffi.RadioSink) -> None:
        own = RadioConfig(config.service_uuid, config.payload, RadioRole[config.role.name])
        try:
            self._shim.start(own, RadioSink(sink))
        except RadioError as e:
            raise _error(e) from None

    def set_advertising(self, payload: bytes | None) -> None:
        self._shim.set_advertising(payload)

    def set_scanning(self, mode: _ffi.RadioScanMode) -> None:
        self._shim.set_scanning(RadioScanMode[mode.name])

    def connect(self, handle: int, discovered: int) -> None:
        self._shim.connect(handle, discovered)

    def send(self, handle: int, bytes: bytes) -> Any:
        taken = self._shim.send(handle, bytes)
        results: Any = _ffi.RadioSendResult
        return results.BUSY() if taken is None else results.ACCEPTED(taken)

    def close(self, handle: int) -> None:
        self._shim.close(handle)

    def stop(self) -> None:
        self._shim.stop()


class RadioRig(ABC):
    """Two radios and what surrounds them, for `check`."""

    @abstractmethod
    def radios(self) -> tuple[RadioShim, RadioShim]:
        """Two radios that are not started and hear each other, and no third one. Called once for a rig."""

    def set_in_range(self, in_range: bool) -> bool:  # noqa: ARG002
        """Puts the radios out of each other's range, or back into it; whether the rig can."""
        return False

    def set_power(self, side: int, on: bool) -> bool:  # noqa: ARG002
        """Switches a radio, 0 or 1, off or on, as its user would; whether the rig can."""
        return False


@dataclass(frozen=True, slots=True)
class RadioCase:
    """One line of the contract.

    Attributes:
        name: For filters and reports.
        line: What it demands.
    """

    name: str
    line: str


@dataclass(frozen=True, slots=True)
class RadioOutcome:
    """What a case has come to.

    Attributes:
        result: ``"skipped"`` when the rig cannot bring the situation about.
        reason: Why it was skipped or how it failed.
    """

    result: Literal["passed", "skipped", "failed"]
    reason: str = ""


def contract() -> list[RadioCase]:
    """Every line of the contract between the library and a radio."""
    return [RadioCase(case.name, case.line) for case in _ffi.radio_contract()]


def check(
    case: str,
    rig: RadioRig,
    *,
    patience: timedelta = timedelta(seconds=60),
    quiet: timedelta = timedelta(milliseconds=150),
) -> RadioOutcome:
    """Tests one line of the contract on a fresh rig. It blocks the calling thread.

    Args:
        case: Name of the case.
        rig: Two radios.
        patience: How long it waits for a report before it counts as missing.
        quiet: How long it listens for reports that must not come.

    Raises:
        RadioError: There is no such case, or the rig has no radios.
    """
    millisecond = timedelta(milliseconds=1)
    try:
        outcome: Any = _ffi.check_radio(case, _Rig(rig), patience // millisecond, quiet // millisecond)
    except _ffi.RadioError as e:
        fault: Any = e
        raise RadioError(RadioCondition[fault.condition.name], fault.reason) from None
    if outcome.is_PASSED():
        return RadioOutcome("passed")
    return RadioOutcome("skipped" if outcome.is_SKIPPED() else "failed", outcome.reason)


class _Rig(_ffi.RadioRig):
    def __init__(self, rig: RadioRig) -> None:
        self._rig = rig

    def radios(self) -> _ffi.RadioPair:
        a, b = self._rig.radios()
        return _ffi.RadioPair(a=Driver(a), b=Driver(b))

    def set_in_range(self, in_range: bool) -> bool:
        return self._rig.set_in_range(in_range)

    def set_power(self, side: int, on: bool) -> bool:
        return self._rig.set_power(side, on)


def _error(e: RadioError) -> Exception:
    errors: Any = _ffi.RadioError
    error: Exception = errors.Unusable(_ffi.RadioCondition[e.condition.name], e.reason)
    return error
