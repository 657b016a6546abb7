"""What a request costs at most, before it is served. Pure.

A token is at least a byte of text, so a prompt has no more tokens than bytes: two to
five times what it will have, but a bound. What is reserved too much is free again when
the request ends.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from schemas.inference import InferenceRequested
from services.common.requests.model_catalogue import ModelConfig, Price

_TEMPLATE_TOKENS = 64
_MESSAGE_TOKENS = 16
_MILLION = Decimal(1_000_000)

SHORTEST_ANSWER = 64
"""Tokens of an answer that is still worth giving: a request that names no `max_tokens`
is refused only where the budget does not reach for as many.
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The most that a request can cost: `fixed_usd`, and `token_usd` for each of the
    `tokens` that each of the `choices` may have. `capped` where the client said so.
    """

    fixed_usd: Decimal
    token_usd: Decimal
    choices: int
    tokens: int
    capped: bool

    @property
    def usd(self) -> Decimal:
        """The whole."""
        return self.of(self.tokens)

    @property
    def least_usd(self) -> Decimal:
        """What must be left for the request to be let in."""
        return self.usd if self.capped else self.of(min(self.tokens, SHORTEST_ANSWER))

    def of(self, tokens: int) -> Decimal:
        """The cost with answers of so many tokens."""
        return self.fixed_usd + self.token_usd * self.choices * tokens

    def tokens_for(self, usd: Decimal) -> int:
        """How many tokens each answer may have for so many dollars."""
        each = self.token_usd * self.choices
        return self.tokens if not each else min(self.tokens, int((usd - self.fixed_usd) / each))


def estimate(request: InferenceRequested, model: ModelConfig, price: Price) -> Estimate | None:
    """The most that a request can cost; None where its price is not known."""
    into, out = price.input_per_million_usd, price.output_per_million_usd
    if into is None or out is None:
        return None
    dearest = max(into, price.cached_rate or into)
    prompt = prompt_bound(request)
    asked = request.sampling.max_tokens
    room = max(1, model.context_length)
    wanted = asked if asked is not None else model.default_max_tokens
    return Estimate(
        price.per_request_usd + dearest * min(prompt, room) / _MILLION,
        out / _MILLION,
        request.sampling.n,
        room if wanted is None else min(room, wanted),
        asked is not None,
    )


def prompt_bound(request: InferenceRequested) -> int:
    """No prompt has more tokens: bytes, and some for the template around each message."""
    sampling = request.sampling
    texts = sum(map(_bytes, request.messages)) + len(request.prompt.encode(errors="replace"))
    more = _bytes(sampling.tools) + _bytes(sampling.response_format)
    return texts + more + _TEMPLATE_TOKENS + _MESSAGE_TOKENS * len(request.messages)


def _bytes(value: Any) -> int:
    """The texts in a JSON value, names included."""
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, dict):
        return sum(_bytes(name) + _bytes(part) for name, part in value.items())
    if isinstance(value, Iterable):
        return sum(map(_bytes, value))
    return 0 if value is None else 8
