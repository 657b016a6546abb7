"""What the tests of formats share."""

from typing import Any

from services.inference.engines.base import Sampling
from services.inference.engines.formats.grammar_child import complaint
from services.inference.engines.formats.json_grammar import Constraint, refusal, wanted_constraint


def held(sampling: Sampling, **options: Any) -> Constraint | None:
    """What a request's answer is held to, compiled here: for schemas that are harmless.

    Raises:
        InvalidRequestError: no grammar holds it.
    """
    constraint = wanted_constraint(sampling, **options)
    if constraint is not None and (wrong := complaint(constraint.grammar)):
        raise refusal(wrong, constraint.param)
    return constraint
