from __future__ import annotations

import asyncio
import queue
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from ditto import ConnectionType, Ditto, DittoClosedError, QueryResult, TransportConfig, radio
from ditto.radio import (
    RadioCondition,
    RadioConfig,
    RadioEndCode,
    RadioError,
    RadioKind,
    RadioScanMode,
    RadioShim,
    RadioSink,
    RadioTransport,
)

Opener = Callable[..., Awaitable[Ditto]]
Eventually = Callable[..., Awaitable[None]]

# A radio and one of its handles.
End = tuple["MemoryRadio", int]


@dataclass
class Link:
    peer: End
    sink: RadioSink
    under_way: int = 0
    owes_writable: bool = False


@dataclass
class Air(radio.RadioRig):
    """Radios inside this process. One thread makes all reports, one after the other, with no lock held."""

    kind: RadioKind
    max_write: int = 182
    buffer: int = 2048
    # Packets of a hundred that vanish, on packet links.
    drop: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    on_air: list[MemoryRadio] = field(default_factory=list)
    links: dict[End, Link] = field(default_factory=dict)
    connects: set[End] = field(default_factory=set)
    in_range: bool = True
    jobs: queue.SimpleQueue[Callable[[], object] | None] = field(default_factory=queue.SimpleQueue)
    random: random.Random = field(default_factory=lambda: random.Random(7))

    def __enter__(self) -> Air:
        self.worker = threading.Thread(target=self.work)
        self.worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.jobs.put(None)
        self.worker.join()

    def work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()

    def later(self, report: Callable[..., object], *facts: object) -> None:
        self.jobs.put(lambda: report(*facts))

    def radio(self) -> MemoryRadio:
        made = MemoryRadio(self)
        self.on_air.append(made)
        return made

    def radios(self) -> tuple[RadioShim, RadioShim]:
        return self.radio(), self.radio()

    def set_in_range(self, in_range: bool) -> bool:
        with self.lock:
            self.in_range = in_range
            if not in_range:
                for end in list(self.links):
                    self.end_link(end, RadioEndCode.UNREACHABLE, RadioEndCode.UNREACHABLE)
            self.look_around()
        return True

    def set_power(self, side: int, on: bool) -> bool:
        with self.lock:
            changed = self.on_air[side]
            changed.is_off = not on
            if not on:
                changed.end_all(RadioEndCode.RADIO_OFF)
            if changed.sink is not None:
                state = RadioCondition.OK if on else RadioCondition.OFF
                self.later(changed.sink.condition, state, "as the test wants it")
            self.look_around()
        return True

    def look_around(self) -> None:
        for here in self.on_air:
            for there in self.on_air:
                if here is not there:
                    self.look(here, there)

    def look(self, here: MemoryRadio, there: MemoryRadio) -> None:
        if here.sink is None:
            return
        audible = self.in_range and not here.is_off and not there.is_off and there.sink is not None
        payload = there.payload if audible and here.service == there.service else None
        known = here.seen.get(there)
        if payload is None:
            if known is not None:
                del here.seen[there]
                self.later(here.sink.lost, known[0])
        elif here.scans and (known is None or known[1] != payload):
            here.last_device += 1
            device = here.last_device if known is None else known[0]
            here.seen[there] = (device, payload)
            self.later(here.sink.discovered, device, payload, -50)

    def connect(self, end: End, device: int) -> None:
        with self.lock:
            here, handle = end
            if end not in self.connects or here.sink is None:
                return
            self.connects.remove(end)
            there = next((r for r, seen in here.seen.items() if seen[0] == device), None)
            reachable = self.in_range and not here.is_off
            if there is None or there.sink is None or there.is_off or not reachable:
                self.later(here.sink.link_failed, handle, RadioEndCode.UNREACHABLE)
                return
            there.last_handle += 2
            other: End = (there, there.last_handle - 1)
            self.links[end] = Link(other, here.sink)
            self.links[other] = Link(end, there.sink)
            self.later(there.sink.incoming, other[1], self.kind, self.max_write)
            self.later(here.sink.link_up, handle, self.kind, self.max_write)

    def send(self, end: End, data: bytes) -> int | None:
        with self.lock:
            link = self.links.get(end)
            if link is None:
                return None
            if not data:
                return 0
            packet = self.kind is RadioKind.GATT
            room = self.buffer - link.under_way
            if room < (len(data) if packet else 1):
                link.owes_writable = True
                return None
            if packet and self.random.randrange(100) < self.drop:
                return len(data)
            # Streams take odd pieces.
            taken = len(data) if packet else self.random.randint(1, min(len(data), room, self.max_write))
            link.under_way += taken
            self.later(self.arrive, end, link, data[:taken])
            return taken

    def arrive(self, end: End, link: Link, data: bytes) -> None:
        with self.lock:
            link.under_way -= len(data)
            to = self.links.get(link.peer)
            if link.owes_writable and end in self.links:
                link.owes_writable = False
                self.later(link.sink.writable, end[1])
        if to is not None:
            to.sink.received(link.peer[1], data)

    def end_link(self, end: End, here: RadioEndCode, there: RadioEndCode) -> None:
        """What was accepted before still arrives: the ends go when the bytes have."""
        if (link := self.links.get(end)) is not None:
            self.later(self.take_down, {end: here, link.peer: there})

    def take_down(self, codes: dict[End, RadioEndCode]) -> None:
        for end, code in codes.items():
            with self.lock:
                link = self.links.pop(end, None)
            if link is not None:
                link.sink.link_down(end[1], code)


@dataclass(eq=False)
class MemoryRadio(RadioShim):
    air: Air
    sink: RadioSink | None = None
    service: str = ""
    payload: bytes | None = None
    scans: bool = False
    is_off: bool = False
    last_device: int = 0
    last_handle: int = 0
    # Others, with our number for them and what they advertised.
    seen: dict[MemoryRadio, tuple[int, bytes]] = field(default_factory=dict)

    def start(self, config: RadioConfig, sink: RadioSink) -> None:
        with self.air.lock:
            if self.is_off:
                raise RadioError(RadioCondition.OFF, "switched off by its user")
            self.sink, self.service, self.payload = sink, config.service_uuid, config.payload
            self.scans = False
            self.seen.clear()
            self.air.look_around()

    def set_advertising(self, payload: bytes | None) -> None:
        with self.air.lock:
            self.payload = payload
            self.air.look_around()

    def set_scanning(self, mode: RadioScanMode) -> None:
        with self.air.lock:
            self.scans = mode is not RadioScanMode.OFF
            self.air.look_around()

    def connect(self, handle: int, device: int) -> None:
        with self.air.lock:
            self.air.connects.add((self, handle))
            self.air.later(self.air.connect, (self, handle), device)

    def send(self, handle: int, data: bytes) -> int | None:
        return self.air.send((self, handle), data)

    def close(self, handle: int) -> None:
        with self.air.lock:
            end = (self, handle)
            self.air.end_link(end, RadioEndCode.CLOSED_HERE, RadioEndCode.CLOSED_THERE)
            if end in self.air.connects and self.sink is not None:
                self.air.connects.remove(end)
                self.air.later(self.sink.link_failed, handle, RadioEndCode.CLOSED_HERE)

    def end_all(self, code: RadioEndCode) -> None:
        for end in [end for end in self.air.links if end[0] is self]:
            closed = code is RadioEndCode.CLOSED_HERE
            self.air.end_link(end, code, RadioEndCode.CLOSED_THERE if closed else RadioEndCode.UNREACHABLE)
        for end in [end for end in self.air.connects if end[0] is self]:
            self.air.connects.remove(end)
            if self.sink is not None:
                self.air.later(self.sink.link_failed, end[1], code)

    def stop(self) -> None:
        with self.air.lock:
            self.end_all(RadioEndCode.CLOSED_HERE)
            self.sink = self.payload = None
            self.scans = False
            self.seen.clear()
            self.air.look_around()


def air_of(kind: RadioKind) -> Air:
    if kind is RadioKind.GATT:
        return Air(kind, drop=10)
    return Air(kind, max_write=4096, buffer=16 << 10)


@pytest.fixture
def air(request: pytest.FixtureRequest) -> Iterator[Air]:
    with air_of(getattr(request, "param", RadioKind.L2CAP)) as made:
        yield made


kinds = pytest.mark.parametrize("air", [RadioKind.L2CAP, RadioKind.GATT], indirect=True)


async def bluetooth(ditto: Ditto, on: bool = True) -> None:
    def change(transports: TransportConfig) -> None:
        transports.disable_all_peer_to_peer()
        transports.peer_to_peer.bluetooth_le.enabled = on

    await ditto.update_transport_config(change)


def counter(counts: dict[str, int], name: str) -> Callable[[QueryResult], None]:
    return lambda result: counts.update({name: len(result)})


def sees(a: Ditto, b: Ditto) -> bool:
    return b.peer_key in {peer.peer_key for peer in a.presence.graph.remote_peers}


@kinds
@pytest.mark.parametrize("case", [case.name for case in radio.contract()])
def test_a_radio_in_python_keeps_the_contract(air: Air, case: str) -> None:
    outcome = radio.check(case, air, quiet=timedelta(milliseconds=30))
    if air.kind is RadioKind.GATT and case == "what_was_accepted_is_sent_before_the_end":
        assert outcome.result == "skipped", "packets may be lost"
    else:
        assert outcome == radio.RadioOutcome("passed")


def test_the_contract_finds_faults(air: Air) -> None:
    class Deaf(MemoryRadio):
        def close(self, handle: int) -> None:
            """Forgets to end links."""

    class Rig(radio.RadioRig):
        def radios(self) -> tuple[RadioShim, RadioShim]:
            air.on_air = [Deaf(air), Deaf(air)]
            return air.on_air[0], air.on_air[1]

    limits = {"patience": timedelta(milliseconds=300), "quiet": timedelta(milliseconds=30)}
    assert radio.check("close_ends_both_ends_once", Rig(), **limits).result == "failed"
    skipped = radio.check("conditions_are_reported", Rig(), **limits)
    assert (skipped.result, skipped.reason) == ("skipped", "the rig cannot switch radios off")
    with pytest.raises(RadioError, match="no case"):
        radio.check("nonsense", Rig())
    assert all(case.line for case in radio.contract())


@kinds
async def test_instances_sync_over_a_radio_in_python(air: Air, opener: Opener, eventually: Eventually) -> None:
    a, b = await opener("a"), await opener("b")
    # One hands its radio over before sync starts, the other one while it runs.
    await a.attach_radio(RadioTransport.BLUETOOTH_LE, air.radio())
    for ditto in (a, b):
        await bluetooth(ditto)
        ditto.sync.register_subscription("SELECT * FROM cars")
        await ditto.sync.start()
    await b.attach_radio(RadioTransport.BLUETOOTH_LE, air.radio())
    counts: dict[str, int] = {}
    for ditto in (a, b):
        name = ditto.device_name
        ditto.store.register_observer("SELECT * FROM cars", counter(counts, name))
        blob = bytes(range(256)) * 40
        insert = "INSERT INTO cars DOCUMENTS (:car)"
        await ditto.store.execute(insert, {"car": {"_id": name, "blob": blob}})
    await eventually(lambda: counts == {"a": 2, "b": 2}, "the documents of the other one")
    [connection] = a.presence.graph.local_peer.connections
    assert connection.connection_type is ConnectionType.BLUETOOTH
    snapshot = a.transport_diagnostics().transport_by_type("Bluetooth")
    assert snapshot is not None
    assert [peer.peer_key for peer in snapshot.connected] == [b.peer_key]
    await a.bus.send_reliable(b.peer_key, blob)
    message = await asyncio.wait_for(anext(b.bus.incoming_messages()), 20)
    assert message.data == blob
    # Off, on, and taken back.
    await bluetooth(b, on=False)
    await eventually(lambda: not sees(a, b) and not sees(b, a), "the end of the links")
    await bluetooth(b)
    await eventually(lambda: sees(a, b) and sees(b, a), "the links again")
    await a.detach_radio(RadioTransport.BLUETOOTH_LE)
    await eventually(lambda: not sees(b, a), "the end of the radio")
    await a.close()
    await b.close()
    await eventually(lambda: not air.links and not air.connects, "the end of every link")
    with pytest.raises(DittoClosedError):
        await a.attach_radio(RadioTransport.BLUETOOTH_LE, air.radio())


async def test_a_radio_that_fails_is_told_of_and_started_again(
    air: Air, opener: Opener, eventually: Eventually
) -> None:
    a, b = await opener("a"), await opener("b")

    class Clumsy(MemoryRadio):
        def set_scanning(self, mode: RadioScanMode) -> None:
            super().set_scanning(mode)
            raise ValueError("as the test wants it")

    broken = Clumsy(air, is_off=True)
    air.on_air.append(broken)
    events = a.connection_events()
    for ditto, shim in ((a, broken), (b, air.radio())):
        await ditto.attach_radio(RadioTransport.BLUETOOTH_LE, shim)
        await bluetooth(ditto)
        await ditto.sync.start()
    async for event in events:
        if event.kind == "condition" and "switched off by its user" in event.text:
            break
    with air.lock:
        broken.is_off = False
    await eventually(lambda: sees(a, b) and sees(b, a), "a radio that is on again", limit=40)
