"""Who administers: a caller with the scope `admin`, as the audit shall name them."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from schemas.control import Scope
from schemas.events.audit import Actor
from services.common.control.principal import Principal
from services.common.http.forwarding import Network, client_of
from services.common.identity import pseudonym
from services.console.administration.entry_service import Administrator
from services.console.identity.callers import Callers

_SHOWN_BITS = {4: 24, 6: 48}


@dataclass(frozen=True)
class Administrators:
    """Lets administrators in."""

    callers: Callers
    pseudonym_key: str = field(repr=False)
    trusted: Sequence[Network]

    def principal(self, request: Request, scope: Scope | None = Scope.ADMIN) -> Principal:
        """Who calls; with None whatever they may.

        Raises:
            ProblemError: 401, 403, 429 or 503.
        """
        return self.callers.caller(request, scope).principal

    def administrator(self, request: Request, scope: Scope | None = Scope.ADMIN) -> Administrator:
        """Who calls, with the name under which a change is audited: the key's id, or of
        who has none the user's pseudonym; and the network, not the whole address.

        Raises:
            ProblemError: 401, 403, 429 or 503.
        """
        principal = self.principal(request, scope)
        address = truncated(client_of(request.scope, self.trusted))
        return Administrator(principal, actor_of(principal, address, self.pseudonym_key))


def actor_of(principal: Principal, address: str, pseudonym_key: str) -> Actor:
    """A caller as the audit names them: by the key's id, or a user's pseudonym."""
    if principal.key_id:
        return Actor(kind="key", id=principal.key_id, address=address)
    name = pseudonym(pseudonym_key, tenant=principal.tenant, user=principal.user)
    return Actor(kind="user", id=name, address=address)


def truncated(address: str) -> str:
    """The network that an address is in; empty where it is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((found, _SHOWN_BITS[found.version]), strict=False))
