"""Which addresses may be connected to."""

import ast
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import services
from services.common.process.egress import AddressRefusedError, Egress, parse_networks

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "240.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1%eth0",
    "fec0::1",
    "fd12:3456::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "::127.0.0.1",
    "localhost",
    "",
    "2130706433",
    "192.0.0.192",
    "192.88.99.1",
    "3fff::1",
    "64:ff9b:1::a9fe:a9fe",
    "5f00::1",
]
PUBLIC = [
    "8.8.8.8",
    "93.184.215.14",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    """Whatever form it is written in; what is no address at all, too."""
    with pytest.raises(AddressRefusedError):
        Egress().require(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_let_through(address: str) -> None:
    """Also where an IPv6 address stands for it."""
    Egress().require(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_allowed_network_is_let_through_in_every_form_and_no_other(address: ipaddress.IPv4Address) -> None:
    """An address, mapped and by NAT64; its neighbours stay refused."""
    egress = Egress.of("10.0.0.0/8, ::1")
    for form in (str(address), f"::ffff:{address}", f"64:ff9b::{address}", "::1"):
        egress.require(form)
    for other in ("11.0.0.1.", "127.0.0.1", "192.168.0.1", "::2"):
        with pytest.raises(AddressRefusedError):
            egress.require(other)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "localhost", "10.0.0.0/8;::1"])
def test_setting_that_names_no_networks_says_how_to_write_them(text: str) -> None:
    """The network and an example."""
    with pytest.raises(ValueError, match=r"write networks such as 10\.0\.0\.0/8"):
        parse_networks(text)


CLIENTS = {"ClientSession", "urlopen", "OTLPSpanExporter", "AsyncClient", "HTTPConnection", "HTTPSConnection"}
UNGUARDED = {
    "services/gateway/http/console_proxy.py": "the console's own address, of the installation's settings",
    "services/common/process/telemetry.py": "the collector of the installation's settings, often beside it",
    "services/common/store/client.py": "the store's own address",
    "services/common/store/reading.py": "the store's own address",
    "services/console/read_models/service_health.py": "the services' own addresses",
    "services/cli/installation/process_status.py": "the installation's own processes",
    "services/embedded/supervision/processes.py": "the installation's own processes",
    "services/cli/installation/demo.py": "the gateway's own address, asked by who runs the command",
}
"""Where HTTP goes out without the guard, and whither."""


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in CLIENTS:
                yield node


def test_whatever_goes_out_is_guarded_or_named_here() -> None:
    """A new client of HTTP takes its connections from `egress`, or is on the list with a
    reason; and the list names no file that has none.
    """
    found: dict[str, list[ast.Call]] = {}
    root = Path(services.__path__[0]).parent
    for file in sorted((root / "services").rglob("*.py")):
        if calls := list(_calls(ast.parse(file.read_text(encoding="utf-8")))):
            found[str(file.relative_to(root))] = calls
    bare = {
        file
        for file, calls in found.items()
        for call in calls
        if not any(one.arg == "connector" and "egress" in ast.unparse(one.value) for one in call.keywords)
    }
    assert bare == set(UNGUARDED)
