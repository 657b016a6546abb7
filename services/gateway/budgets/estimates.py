"""What a request costs at most, before it is served. Pure.

What is reserved too much is free again when the request ends.
"""

from dataclasses import dataclass
from decimal import Decimal

from schemas.inference import InferenceRequested
from services.common.requests.model_catalogue import ModelConfig, Price
from services.common.requests.prompt_size import most_tokens

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
    prompt = most_tokens(request)
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
