from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ditto import Ditto, DittoInvalidConfigError, DittoIoError, LanConfig, TcpListenConfig, TransportConfig

# An authority that was made for this test, and its certificate for 127.0.0.1.
AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBVzCB/6ADAgECAgEBMAoGCCqGSM49BAMCMBsxGTAXBgNVBAMMEGEgdGVzdCBh
dXRob3JpdHkwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBsxGTAX
BgNVBAMMEGEgdGVzdCBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAT5x39vVaRabhK3qguEuzLJhlsRQhz1tU4T19FqkTz7OicYmr7a8D+g7S9q1qkc
Gmbb5cnWt162Wdb8jRvNIgisozIwMDAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQW
BBQBTm9Ft45kw1jXx8wqfjGoJlN5njAKBggqhkjOPQQDAgNHADBEAiBQxp26cict
eU9tW2h55OONMQNO0TzHLMuYg3Ebk32WWwIgLOvpvx5bn8PLuQ2UvUF+qOLn8G34
ca4skAvEAZqz5KA=
-----END CERTIFICATE-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBfjCCASSgAwIBAgIBAjAKBggqhkjOPQQDAjAbMRkwFwYDVQQDDBBhIHRlc3Qg
YXV0aG9yaXR5MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAUMRIw
EAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATUyAnR
QDb1L/QBAaWus55jBU+zMD6C2pIxBAFp+sM/opvUyu6JLYMuHc06e9Y6skxS+ATR
MpxKBR7J4GaGMd8ro14wXDAJBgNVHRMEAjAAMA8GA1UdEQQIMAaHBH8AAAEwHQYD
VR0OBBYEFJUeiWkpsqg/cIAbAqHphE6FJZgeMB8GA1UdIwQYMBaAFAFOb0W3jmTD
WNfHzCp+MagmU3meMAoGCCqGSM49BAMCA0gAMEUCIQC2Q6j7CPOCE9BruGvW2Mec
71MrL4oIymaFGRziswEyTgIgaGPjYEpMQ9KpD+oSW2wHBMgCQtjFwfmjszz8shmp
ZK8=
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZ767Qc7fr7PM7rJu
DJXkKcyDO1MyLUg1+TSukRKLngqhRANCAATUyAnRQDb1L/QBAaWus55jBU+zMD6C
2pIxBAFp+sM/opvUyu6JLYMuHc06e9Y6skxS+ATRMpxKBR7J4GaGMd8r
-----END PRIVATE KEY-----
"""


def test_a_fresh_value_has_everything_off() -> None:
    config = TransportConfig()
    assert not config.peer_to_peer.lan.enabled
    assert not config.listen.tcp.enabled
    assert config.connect.tcp_servers == set()
    assert config.connect.retry_interval == timedelta(seconds=5)
    assert config.listen.tcp == TcpListenConfig(False, "[::]", 4040)
    assert config.global_.sync_group == 0
    config.enable_all_peer_to_peer().add_tcp_server("a:1").enable_tcp_listen("::1", 5).set_sync_group(7)
    assert config.peer_to_peer.lan == LanConfig(True, True, True)
    assert config.connect.tcp_servers == {"a:1"}
    assert config.listen.tcp == TcpListenConfig(True, "::1", 5)
    assert config.global_.sync_group == 7
    assert not config.disable_all_peer_to_peer().peer_to_peer.lan.enabled


async def test_an_instance_starts_with_peer_to_peer_on(ditto: Ditto) -> None:
    assert ditto.transport_config == TransportConfig().enable_all_peer_to_peer()


async def test_updates_replace_and_copies_are_copies(ditto: Ditto) -> None:
    ditto.transport_config.add_tcp_server("ignored:1")
    await ditto.update_transport_config(lambda t: t.add_tcp_server("127.0.0.1:1").set_sync_group(3))
    wanted = TransportConfig().enable_all_peer_to_peer().add_tcp_server("127.0.0.1:1").set_sync_group(3)
    assert ditto.transport_config == wanted
    wanted = TransportConfig().enable_tcp_listen("127.0.0.1", 0)
    wanted.connect.retry_interval = timedelta(milliseconds=1500)
    wanted.set_websocket_urls(["wss://a/"]).enable_http_listen("::1", 0, True).set_routing_hint(4)
    wanted.set_http_tls("c", "k").set_static_content_path("web")
    await ditto.set_transport_config(wanted)
    assert ditto.transport_config == wanted


async def test_a_change_that_came_between_is_not_lost(ditto: Ditto) -> None:
    calls = 0

    def slow(transports: TransportConfig) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            # Another change while this one is being computed: the first step of the coroutine carries it out.
            other = ditto.update_transport_config(lambda t: t.add_tcp_server("first:1"))
            other.send(None)
            other.close()
        transports.add_tcp_server("second:1")

    await ditto.update_transport_config(slow)
    assert calls == 2
    assert ditto.transport_config.connect.tcp_servers == {"first:1", "second:1"}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("tcp_servers", lambda t: t.add_tcp_server("no port")),
        ("interface_ip", lambda t: t.enable_tcp_listen("not an address", 0)),
        ("port", lambda t: t.enable_tcp_listen("127.0.0.1", 65536)),
        ("port", lambda t: t.enable_tcp_listen("127.0.0.1", -1)),
        ("port", lambda t: t.enable_tcp_listen("127.0.0.1", "80")),
        ("websocket_urls", lambda t: t.add_websocket_url("http://a")),
        ("http.port", lambda t: t.enable_http_listen("127.0.0.1", 65536)),
        ("tls_key_path", lambda t: setattr(t.listen.http, "tls_certificate_path", "c")),
        ("routing_hint", lambda t: t.set_routing_hint(-1)),
        ("sync_group", lambda t: t.set_sync_group(1 << 32)),
        ("retry_interval", lambda t: setattr(t.connect, "retry_interval", timedelta(seconds=-1))),
    ],
)
async def test_invalid_fields_are_named_and_change_nothing(ditto: Ditto, field: str, change: object) -> None:
    before = ditto.transport_config
    with pytest.raises(DittoInvalidConfigError, match=field):
        await ditto.update_transport_config(change)  # type: ignore[arg-type]
    assert ditto.transport_config == before


async def test_a_listener_that_cannot_be_opened_is_an_error(opener: object) -> None:
    a = await opener("a")  # type: ignore[operator]
    b = await opener("b")  # type: ignore[operator]
    await a.set_transport_config(TransportConfig().enable_tcp_listen("127.0.0.1", 0))
    await a.sync.start()
    port = int(a.sync.listen_address.rpartition(":")[2])
    assert port != 0
    await b.set_transport_config(TransportConfig().enable_tcp_listen("127.0.0.1", port))
    with pytest.raises(DittoIoError):
        await b.sync.start()
    assert not b.sync.is_active
    assert b.sync.listen_address is None


async def test_an_own_authority_is_trusted_for_wss(
    tmp_path: Path,
    opener: Callable[..., Awaitable[Ditto]],
    eventually: Callable[..., Awaitable[None]],
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    a, b = await opener("a"), await opener("b")
    config = TransportConfig().enable_http_listen("127.0.0.1", 0, True)
    await a.set_transport_config(config.set_http_tls(str(certificate), str(key)))
    await a.sync.start()
    url = f"wss://{a.sync.http_listen_address}/"
    events = b.connection_events()
    await b.set_transport_config(TransportConfig().add_websocket_url(url))
    await b.sync.start()
    async for event in events:
        if event.kind == "dial_failed":
            assert "UnknownIssuer" in event.text
            break
    with pytest.raises(DittoInvalidConfigError, match="extra_roots"):
        await b.update_transport_config(lambda t: t.add_extra_root("nonsense"))
    await b.update_transport_config(lambda t: t.add_extra_root(AUTHORITY))
    assert b.transport_config.connect.extra_roots == {AUTHORITY}
    await eventually(lambda: len(b.presence.graph.remote_peers) == 1, "the connection")
    [connection] = b.presence.graph.local_peer.connections
    assert connection.connection_type == "WebSocket"
