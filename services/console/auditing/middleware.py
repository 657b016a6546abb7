"""Around the console's application: what gives something is answered once it is in the
audit.
"""

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import ErrorCode
from services.common.errors import TocsinError
from services.common.http.problems import unavailable
from services.common.http.responses import problem_response
from services.console.auditing.recorder import CallRecorder, withhold

log = structlog.get_logger(__name__)


class AuditMiddleware:
    """Pure ASGI, between the access log and the application."""

    def __init__(self, app: ASGIApp, recorder: CallRecorder) -> None:
        self.app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        withheld = False

        async def send_recorded(message: Message) -> None:
            nonlocal withheld
            if message["type"] == "http.response.start":
                try:
                    await self._recorder.on_answer(scope, message["status"])
                except TocsinError as error:
                    withheld = True
                    withhold(scope)
                    log.warning("answer_withheld", path=scope["path"], error=str(error))
                    await _withheld(scope, receive, send)
            if not withheld:
                await send(message)

        await self.app(scope, receive, send_recorded)


async def _withheld(scope: Scope, receive: Receive, send: Send) -> None:
    error = unavailable(
        "The audit cannot be written now, and this is not answered without. Try again.",
        code=ErrorCode.BUS_UNAVAILABLE,
        retry_after_s=2,
    )
    await problem_response(error.problem, scope["path"])(scope, receive, send)
