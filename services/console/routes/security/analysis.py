"""/api/security: what attacks and leaks there were, and whether a text is one."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.http.problems import malformed
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.console.administration.kinds import PRIVATE
from services.console.identity.callers import Caller, Callers
from services.console.routes.documentation import body_of, problems
from services.console.security.analysis import MAX_PROMPT_BYTES, judged
from services.console.security.findings import Findings
from services.console.security.services import SecurityServices

Level = Literal["none", "low", "medium", "high", "critical"]


class AnalyzeBody(BaseModel, extra="forbid"):
    """A text that nobody is served."""

    prompt: str = Field(description=f"At most {MAX_PROMPT_BYTES} bytes of UTF-8.")
    user_id: str = Field("", max_length=200, description="Whose it is, as requests name them.")


class RuleFinding(BaseModel):
    """A rule that matched."""

    category: str
    rule: str
    span: tuple[int, int] = Field(description="Characters of the prompt.")
    weight: float = Field(description="Points.")
    disguise: str = Field(description="How it was disguised; empty where it was not.")


class PersonalFinding(BaseModel):
    """Personal data or a secret, by its place: never the value."""

    type: str
    placeholder_kind: str = Field(description="As in [EMAIL_1].")
    span: tuple[int, int]
    certainty: float
    is_secret: bool


class UserHistory(BaseModel):
    """What was found of a user in the last seven days."""

    user: str = Field(description="The pseudonym.")
    findings: int
    highest_level: Level


class AnalyzeAnswer(BaseModel):
    """What the text is, and what would be done about it."""

    risk_level: Level
    score: float = Field(description="Points, 0 to 30.")
    probability: float = Field(description="Of an attack, where half of all prompts are.")
    threats_detected: list[str] = Field(description="Kinds, the strongest first; none below low.")
    findings: list[RuleFinding]
    pii: list[PersonalFinding]
    action: Literal["allow", "mask", "flag", "block"] = Field(
        description="What gateways do by the tenant's policy with a prompt of this level."
    )
    masked_prompt: str
    partial: bool = Field(description="Not all was read, or not all is listed.")
    detector_version: str
    rules_version: str
    user_history: UserHistory | None = Field(
        None, description="For administrators that name a user, where the store answers."
    )


def security_router(callers: Callers, security: SecurityServices, limits: BodyLimits) -> APIRouter:
    """Analysis."""
    router = APIRouter(prefix="/api/security", tags=["Security"])

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.post(
        "/analyze",
        response_model=AnalyzeAnswer,
        openapi_extra=body_of(AnalyzeBody),
        responses=problems(400, 401, 403, 408, 413, 415, 429, 503),
    )
    async def analyze(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Look at a text in full depth: attacks, personal data, secrets, and what gateways
        do about such a prompt. Nothing of it is kept.
        """
        body = await read_json(request, AnalyzeBody, limits)
        _require_short(body.prompt)
        found = await security.analyst.analyse(caller.tenant, body.prompt)
        policy = security.control.state.policy_of(caller.tenant)
        answer = judged(found, security.thresholds(caller.tenant), policy) | {
            "user_history": await _history(caller, security.findings, body.user_id)
        }
        return json_response(answer, headers=PRIVATE)

    return router


def _require_short(prompt: str) -> None:
    """Passes a text within the limit.

    Raises:
        ProblemError: 400, it is longer.
    """
    size = len(prompt.encode(errors="surrogatepass"))
    if size > MAX_PROMPT_BYTES:
        raise malformed(f"prompt: {size} bytes are more than {MAX_PROMPT_BYTES}; send a part.", "prompt")


async def _history(caller: Caller, findings: Findings, user: str) -> dict[str, Any] | None:
    if not user or Scope.ADMIN not in caller.principal.scopes:
        return None
    return await findings.history(caller.tenant, user)
