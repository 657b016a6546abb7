"""What a client is told of its limits: headers, and why it was refused. Pure."""

import math

from schemas.errors import ErrorCode
from services.common.control.limits import LimitKind
from services.common.http.problems import NO_RETRY, Headers, Problem, retry_after
from services.gateway.limits.limiter import Allowance, Refused

_WHOSE = {
    "key": "this API key",
    "user": "this key's user",
    "tenant": "this key's tenant",
    "model": "this model, over all its users,",
    "risk": "this user, for what was found in its recent requests,",
}
_WHAT = {
    LimitKind.REQUESTS: "requests a minute",
    LimitKind.TOKENS: "tokens a minute",
    LimitKind.STREAMS: "requests at a time",
}


def limit_headers(requests: Allowance | None, tokens: Allowance | None) -> Headers:
    """`x-ratelimit-*` as OpenAI's API sends them; nothing of what is not limited."""
    return tuple(
        header
        for what, allowance in (("requests", requests), ("tokens", tokens))
        if allowance is not None
        for header in (
            (f"x-ratelimit-limit-{what}", str(allowance.limit)),
            (f"x-ratelimit-remaining-{what}", str(allowance.remaining)),
            (f"x-ratelimit-reset-{what}", duration(allowance.reset_s)),
        )
    )


def duration(seconds: float) -> str:
    """A time as OpenAI's API writes it: `0s`, `12ms`, `7.66s`, `6m0s`, `1h0m0s`."""
    if seconds <= 0:
        return "0s"
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{math.ceil(seconds * 100) / 100:g}s"
    whole = math.ceil(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes}m{whole % 60}s" if hours else f"{minutes}m{whole % 60}s"


def refusal_problem(refused: Refused, headers: Headers) -> Problem:
    """429: which limit, of whom, and when to ask again."""
    rule = refused.rule
    what = "requests an hour" if rule.period_s == 3600 else _WHAT[rule.kind]
    limit = f"{_WHOSE[rule.scope]} may have {rule.limit} {what}"
    if refused.wait_s is None:
        message = f"Rate limit reached: {limit}, and this request asks for more than that."
        return Problem(429, ErrorCode.RATE_LIMIT_EXCEEDED, message, headers=(*headers, *NO_RETRY))
    message = f"Rate limit reached: {limit}. Try again in {duration(refused.wait_s)}."
    return Problem(
        429, ErrorCode.RATE_LIMIT_EXCEEDED, message, headers=(*headers, *retry_after(refused.wait_s))
    )
