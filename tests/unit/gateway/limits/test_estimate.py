"""How many tokens a request is expected to take."""

from schemas.inference import Sampling
from services.gateway.limits.estimate import TokenEstimates
from tests.unit.gateway.limits.scene import request


def test_answer_is_bounded_by_what_was_asked_for_and_by_the_context() -> None:
    """`max_tokens` of a billion reserves what the model can give."""
    estimates = TokenEstimates({"m": 100})
    assert estimates.tokens_of(request(sampling=Sampling(max_tokens=16))) == 4 + 16
    assert estimates.tokens_of(request(sampling=Sampling(max_tokens=10**9, n=2))) == 4 + 2 * 96


def test_answer_of_no_stated_length_is_what_the_model_gave_lately() -> None:
    """Twice that, so that few exceed it."""
    estimates = TokenEstimates({"m": 100_000})
    open_ended = request(sampling=Sampling())
    assert estimates.tokens_of(open_ended) == 4 + 257
    for _ in range(200):
        estimates.learn(open_ended, 20)
    assert 4 + 40 <= estimates.tokens_of(open_ended) <= 4 + 42
    estimates.learn(request(model="a name that a client made up"), 5)
    assert len(estimates._answers) == 1
