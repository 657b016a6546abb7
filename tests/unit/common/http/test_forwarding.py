"""Who is behind a connection, whatever it says of itself."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.http.forwarding import (
    LOOPBACK,
    client_behind,
    client_network,
    client_of,
    is_trusted,
    parse_networks,
)

PROXIES = parse_networks("127.0.0.0/8, 10.0.0.0/8")
STRANGER = "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (STRANGER, ["198.51.100.1"], STRANGER),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4, 198.51.100.1, 10.1.1.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["10.0.0.7"], "10.0.0.7"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, nonsense, 10.0.0.7"], "10.0.0.7"),
        ("127.0.0.1", ["198.51.100.1:50123"], "198.51.100.1"),
        ("127.0.0.1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("127.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
        ("127.0.0.1", ["fe80::1%a text of the client's choice"], "fe80::1"),
        ("127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("", [], ""),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_client_is_who_the_last_trusted_proxy_saw(peer: str, forwarded: list[str], client: str) -> None:
    """What a stranger writes into X-Forwarded-For makes nobody another client."""
    assert client_behind(peer, forwarded, PROXIES) == client


@given(
    st.lists(
        st.text(st.characters(codec="latin-1"), max_size=60) | st.sampled_from(["10.0.0.7", "127.0.0.1"])
    ),
    st.sampled_from(["lines", "one line"]),
)
def test_client_cannot_choose_its_address(written: list[str], form: str) -> None:
    """Behind one ingress or two, which append whom they see, it is who it is."""
    forwarded = written if form == "lines" else [",".join(written)]
    assert client_behind("127.0.0.1", [*forwarded, STRANGER], PROXIES) == STRANGER
    assert client_behind("127.0.0.1", [",".join([*forwarded, STRANGER, "10.0.0.7"])], PROXIES) == STRANGER
    assert client_behind(STRANGER, forwarded, PROXIES) == STRANGER
    assert client_behind("10.0.0.9", [STRANGER], ()) == "10.0.0.9"


def test_long_chain_costs_no_more_than_its_end() -> None:
    """Sixty thousand hops are not looked at."""
    chain = ",".join(["10.0.0.7"] * 60_000)
    assert client_behind("127.0.0.1", [chain], PROXIES) == "10.0.0.7"
    assert client_behind("127.0.0.1", [f"{chain},{STRANGER}"], PROXIES) == STRANGER


def test_connection_without_an_address_has_no_client() -> None:
    """A Unix socket's peer."""
    headers = [(b"x-forwarded-for", b"198.51.100.1")]
    assert client_of({"type": "http", "client": None, "headers": headers}, PROXIES) == ""
    at = {"type": "http", "client": ("127.0.0.1", 5), "headers": headers}
    assert client_of(at, PROXIES) == "198.51.100.1"


def test_ipv6_subscriber_is_one_client_whatever_address_it_takes() -> None:
    """It holds a network of 64 bits."""
    assert client_network("2001:db8:1:2:3:4:5:6") == client_network("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert client_network("198.51.100.1") == "198.51.100.1"
    assert client_network("a socket") == "a socket"


def test_loopback_alone_is_trusted_by_default() -> None:
    """Nobody who comes over a network."""
    networks = parse_networks(LOOPBACK)
    assert all(is_trusted(one, networks) for one in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"))
    assert not any(is_trusted(one, networks) for one in ("10.0.0.1", "192.168.1.1", "fe80::1", "", "x"))
    assert parse_networks("") == ()
    assert parse_networks(" 10.0.0.0/8 ,") == (ipaddress.ip_network("10.0.0.0/8"),)
    with pytest.raises(ValueError, match="300"):
        parse_networks("10.0.0.0/8,300.0.0.0/8")
