"""Whose key a request carries."""

from starlette.requests import Request

from schemas.control import KeyChanged, Scope
from services.common.http.access_log import bind_log_fields
from services.gateway.handlers import Serving


def authenticated_key(serving: Serving, request: Request, scope: Scope) -> KeyChanged:
    """The key that a request carries, if it is good for `scope`.

    Raises:
        ProblemError: 401, 403 or 503.
    """
    key = serving.keys.authenticate(request.headers.get("authorization"), scope, now=serving.clock())
    bind_log_fields(request.scope, tenant=key.tenant, key_id=key.key_id)
    return key
