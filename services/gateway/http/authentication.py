"""Who makes a request."""

from starlette.requests import Request

from schemas.control import Scope
from services.common.control.principal import Principal
from services.common.http.access_log import bind_log_fields
from services.gateway.handlers import Serving


def authenticated(serving: Serving, request: Request, scope: Scope) -> Principal:
    """Who makes a request, if that is allowed `scope`.

    Raises:
        ProblemError: 401, 403, 429 or 503.
    """
    caller = serving.keys.caller(request, scope, now=serving.clock())
    bind_log_fields(request.scope, tenant=caller.tenant, key_id=caller.key_id)
    return caller
