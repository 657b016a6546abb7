"""Where Kafka is and how one logs in to it, all in one text.

    [protocol://][user:password@]host:port[,host:port…][?mechanism=…&ca=…]

The protocol is `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`. Without one it is
`plaintext`, or `sasl_ssl` where a user is named: a password does not cross a network in
clear by an oversight. One text, so that every process that has the address can also log
in, on whichever machine. It holds a password, so errors and logs show
`without_password`.
"""

import ssl
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode

from services.common.errors import ConfigError

PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
_PARAMETERS = ("mechanism", "ca")


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """A parsed address. `ca` is a file of certificates to trust instead of the
    system's.
    """

    servers: str
    protocol: str = "plaintext"
    username: str = ""
    password: str = field(default="", repr=False)
    mechanism: str = MECHANISMS[0]
    ca: str = ""

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def parse(cls, url: str, **defaults: str) -> Self:
        """Reads an address; `defaults` count for what it leaves out.

        Raises:
            ConfigError: it is none; the message says why, without the password.
        """
        protocol, found, rest = url.partition("://")
        if not found:
            protocol, rest = "", url
        rest, _, query = rest.partition("?")
        login, _, servers = rest.rpartition("@")
        username, _, password = login.partition(":")
        parameters = dict(parse_qsl(query))
        if unknown := sorted(set(parameters) - set(_PARAMETERS)):
            raise ConfigError(
                f"TOCSIN_KAFKA_URL has the parameter {unknown[0]!r}; there are {' and '.join(_PARAMETERS)}."
            )
        login_given = {"username": unquote(username), "password": unquote(password)} if username else {}
        stated = ({"protocol": protocol.lower()} if protocol else {}) | login_given | parameters
        parts = (
            {"protocol": "sasl_ssl" if login or "username" in defaults else "plaintext"} | defaults | stated
        )
        return cls(servers=servers, **parts)

    @property
    def url(self) -> str:
        """The whole address as a text, with the password."""
        login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@" if self.username else ""
        if self.protocol == "plaintext":
            return self.servers
        return f"{self.protocol}://{login}{self.servers}{self._query()}"

    def __str__(self) -> str:
        """The address for people: without the password."""
        login = f"{self.username}@" if self.username else ""
        return self.servers if self.protocol == "plaintext" else f"{self.protocol}://{login}{self.servers}"

    @property
    def uses_sasl(self) -> bool:
        """Whether a user and a password are asked for."""
        return self.protocol.startswith("sasl_")

    def ssl_context(self) -> ssl.SSLContext | None:
        """What checks the broker's certificate; None where nothing is encrypted.

        Raises:
            ConfigError: the file of certificates cannot be used.
        """
        if not self.protocol.endswith("ssl"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:
            raise ConfigError(
                f"TOCSIN_KAFKA_CA_FILE={self.ca!r} cannot be used ({error}): name a PEM file of certificates."
            ) from error

    def _query(self) -> str:
        """Always with the mechanism, so that no setting beside it can mean another."""
        given = {"mechanism": self.mechanism if self.uses_sasl else "", "ca": self.ca}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"?{query}" if query else ""


def connection_options(url: str) -> dict[str, Any]:
    """What every Kafka client is given to connect: aiokafka's arguments of that name.

    Raises:
        ConfigError: the address is none.
    """
    address = KafkaAddress.parse(url)
    options: dict[str, Any] = {"bootstrap_servers": address.servers}
    if address.protocol != "plaintext":
        options |= {"security_protocol": address.protocol.upper(), "ssl_context": address.ssl_context()}
    if address.uses_sasl:
        options |= {
            "sasl_mechanism": address.mechanism,
            "sasl_plain_username": address.username,
            "sasl_plain_password": address.password,
        }
    return options


def without_password(url: str) -> str:
    """An address for logs and errors."""
    try:
        return str(KafkaAddress.parse(url))
    except ConfigError:
        return "(an address that cannot be read)"


def _check(address: KafkaAddress) -> None:
    if address.protocol not in PROTOCOLS:
        raise ConfigError(
            f"Kafka's protocol {address.protocol!r} is unknown; there are {', '.join(PROTOCOLS)} "
            "(TOCSIN_KAFKA_SECURITY_PROTOCOL, or before :// in TOCSIN_KAFKA_URL)."
        )
    if address.mechanism not in MECHANISMS:
        raise ConfigError(
            f"Kafka's login by {address.mechanism!r} is unknown; there are {', '.join(MECHANISMS)} "
            "(TOCSIN_KAFKA_SASL_MECHANISM)."
        )
    if address.uses_sasl != bool(address.username):
        mend = (
            "no user: set TOCSIN_KAFKA_USERNAME and TOCSIN_KAFKA_PASSWORD"
            if address.uses_sasl
            else "a user: the protocol that logs in is sasl_ssl or sasl_plaintext"
        )
        raise ConfigError(f"Kafka's protocol is {address.protocol}, with {mend}.")
    if address.uses_sasl and not address.password:
        raise ConfigError(f"Kafka's user {address.username!r} has no password: set TOCSIN_KAFKA_PASSWORD.")
    for server in address.servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(
                f"{server!r} is no server of Kafka: TOCSIN_KAFKA_URL is host:port[,host:port…], "
                "say 127.0.0.1:9092."
            )
