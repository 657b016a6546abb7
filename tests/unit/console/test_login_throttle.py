"""Whoever keeps trying keys has to wait, in bounded memory."""

import ipaddress

import pytest

from services.console.identity.login_throttle import LoginThrottle, client_of

PROXIES = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/8"))


def failing(throttle: LoginThrottle, client: str, times: int, at_s: float = 0.0) -> None:
    """Counts so many failures at one time."""
    for _ in range(times):
        throttle.failed(client, at_s)


def test_client_with_few_failures_need_not_wait() -> None:
    """People mistype."""
    throttle = LoginThrottle()
    failing(throttle, "a", 4)
    assert throttle.wait_s("a", 0.0) == 0.0


@pytest.mark.parametrize(("failures", "wait_s"), [(5, 1), (6, 2), (9, 16), (11, 60), (500, 60)])
def test_client_with_many_failures_waits_twice_as_long_each_time(failures: int, wait_s: float) -> None:
    """Up to a minute, never for good."""
    throttle = LoginThrottle()
    failing(throttle, "a", failures)
    assert throttle.wait_s("a", 0.0) == wait_s
    assert throttle.wait_s("a", wait_s) == 0.0
    assert throttle.wait_s("b", 0.0) == 0.0


def test_client_that_was_quiet_begins_anew() -> None:
    """A quarter of an hour without a failure wipes the slate."""
    throttle = LoginThrottle()
    failing(throttle, "a", 50)
    assert throttle.wait_s("a", 900.0) == 0.0
    throttle.failed("a", 900.0)
    assert throttle.wait_s("a", 900.0) == 0.0


def test_many_clients_take_bounded_memory() -> None:
    """The latest ones are remembered."""
    throttle = LoginThrottle(capacity=100)
    for number in range(10_000):
        failing(throttle, str(number), 6)
    assert throttle.wait_s("9999", 0.0) > 0
    assert throttle.wait_s("0", 0.0) == 0.0
    assert len(throttle._failures) == 100


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4, 198.51.100.1, 10.1.1.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("", [], ""),
    ],
)
def test_client_is_who_the_last_trusted_proxy_saw(peer: str, forwarded: list[str], client: str) -> None:
    """What a stranger writes into X-Forwarded-For makes nobody another client; an IPv6
    subscriber is one client, whatever address it takes.
    """
    assert client_of(peer, forwarded, PROXIES) == client
