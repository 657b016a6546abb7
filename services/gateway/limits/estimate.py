"""How many tokens a request will take, as far as that can be told before. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.inference import InferenceRequested
from services.common.requests.prompt_size import expected_tokens

_FIRST_ANSWER = 256
_WEIGHT = 0.05
_MARGIN = 2.0


@dataclass
class TokenEstimates:
    """Estimates by model: `context_lengths` bound an answer, and where a client names
    no `max_tokens`, twice what answers of the model took lately is reserved.
    """

    context_lengths: Mapping[str, int]
    _answers: dict[str, float] = field(default_factory=dict, init=False)

    def tokens_of(self, request: InferenceRequested) -> int:
        """What a request is expected to take at most: its prompt, and its answers."""
        prompt = expected_tokens(request)
        room = max(1, self.context_lengths.get(request.model, 2**31) - prompt)
        asked = request.sampling.max_tokens
        expected = (
            _MARGIN * self._answers.get(request.model, _FIRST_ANSWER / _MARGIN) if asked is None else asked
        )
        return prompt + request.sampling.n * min(room, int(expected) + 1 if asked is None else asked)

    def learn(self, request: InferenceRequested, completion_tokens: int) -> None:
        """An answer took so many tokens."""
        if request.model not in self.context_lengths or completion_tokens <= 0:
            return
        each = completion_tokens / request.sampling.n
        known = self._answers.get(request.model, _FIRST_ANSWER / _MARGIN)
        self._answers[request.model] = known + _WEIGHT * (each - known)
