"""Whether multicast works on this machine: tried by sending a packet to ourselves, not guessed."""

from __future__ import annotations

import os
import socket
import struct
import sys

GROUP = "224.0.0.251"
UP, LOOPBACK, MULTICAST = 0x1, 0x8, 0x1000


def usable_interfaces(timeout: float = 1.0) -> tuple[list[str], str]:
    """Names of the interfaces that deliver multicast, and a reason when there is none."""
    if not sys.platform.startswith("linux"):
        # Interface flags are read differently elsewhere; the system's own choice of interface will do.
        return (
            (["the default interface"], "") if _delivers(0, timeout) else ([], "a test packet did not arrive")
        )
    candidates = [
        (index, name)
        for index, name in socket.if_nameindex()
        if (flags := _flags(name)) & UP and flags & MULTICAST and not flags & LOOPBACK
    ]
    if not candidates:
        return [], "no interface but loopback is up and capable of multicast"
    found = [name for index, name in candidates if _delivers(index, timeout)]
    if found:
        return found, ""
    return [], "a test packet did not arrive on " + ", ".join(name for _, name in candidates)


def _flags(name: str) -> int:
    try:
        with open(f"/sys/class/net/{name}/flags") as file:
            return int(file.read(), 16)
    except (OSError, ValueError):
        return 0


def _delivers(interface: int, timeout: float) -> bool:
    """Whether a packet sent to the group on this interface comes back to a socket that joined there."""
    membership = socket.inet_aton(GROUP) + struct.pack("=4si", socket.inet_aton("0.0.0.0"), interface)
    if interface == 0:
        membership = socket.inet_aton(GROUP) + socket.inet_aton("0.0.0.0")
    mark = os.urandom(16)
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("", 0))
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            receiver.settimeout(timeout)
            if interface:
                choice = struct.pack("=4s4si", bytes(4), bytes(4), interface)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, choice)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sender.sendto(mark, (GROUP, receiver.getsockname()[1]))
            return receiver.recv(64) == mark
    except OSError:
        # Unreachable, refused or timed out: all mean that it cannot be used.
        return False
