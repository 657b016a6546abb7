"""Ports that are free, and the same ones the next time."""

import random
import socket
from collections.abc import Iterator

import pytest

from services.common.errors import ConfigError
from services.embedded.installation.ports import free_port, is_free, is_listening, wished_host
from services.embedded.installation.process_table import DEFAULT_PORTS, choose_ports, unusual_ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        yield server.getsockname()[1]


def test_free_port_when_the_preferred_one_is_taken_is_another(taken: int) -> None:
    """Below the range of outgoing connections, so that no client can sit on it."""
    assert is_listening(taken)
    assert not is_free(taken)
    port = free_port(taken)
    assert port != taken
    assert 20_000 <= port <= 32_000
    assert free_port(port) == port


def test_choose_ports_remembers_what_it_chose_and_evades_what_is_taken(taken: int) -> None:
    """A restart finds the same ports; only a role whose port is taken moves."""
    first = choose_ports(3, {}, {"gateway": free_port()})
    assert len(set(first.values())) == len(first)
    again = choose_ports(3, first | {"kafka": taken}, {"gateway": first["gateway"]})
    assert again.pop("kafka") != taken
    first.pop("kafka")
    assert again == first


def test_choose_ports_with_a_wish_beats_what_is_remembered() -> None:
    """TOCSIN_GATEWAY_PORT moves the gateways also after a first run elsewhere."""
    wished = free_port()
    chosen = choose_ports(1, {"gateway": free_port()}, {"gateway": wished})
    assert chosen["gateway"] == wished


def test_choose_ports_for_several_gateways_are_consecutive_also_when_one_is_taken(taken: int) -> None:
    """All of them move together."""
    chosen = choose_ports(3, {}, {"gateway": taken - 1})
    first = chosen["gateway"]
    assert (chosen["gateway-2"], chosen["gateway-3"]) == (first + 1, first + 2)
    assert not set(range(first, first + 3)) & {taken}


def test_unusual_ports_names_only_those_that_differ() -> None:
    """Someone who reads the documentation learns what is elsewhere."""
    assert unusual_ports(DEFAULT_PORTS) == ""
    assert unusual_ports(DEFAULT_PORTS | {"gateway": 20001}) == "gateway on 20001 instead of 8000"


@pytest.mark.parametrize("host", ["192.0.2.77", "no such host", "::1::1", "300.1.1.1", "é" * 70])
def test_wished_host_that_is_not_of_this_machine_is_refused(host: str) -> None:
    """One sentence, before anything is started."""
    with pytest.raises(ConfigError, match=r"is no address of this machine.*0\.0\.0\.0"):
        wished_host({"TOCSIN_HOST": host})


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", ""])
def test_wished_host_of_this_machine_is_taken(host: str) -> None:
    """Loopback where nothing is wished."""
    assert wished_host({"TOCSIN_HOST": host}) == (host or "127.0.0.1")


def test_free_port_is_another_for_everybody_whatever_the_seed() -> None:
    """Tests side by side begin with the same seed, as may two programs."""
    drawn = set()
    for _ in range(20):
        random.seed(1)
        drawn.add(free_port())
    assert len(drawn) > 10
