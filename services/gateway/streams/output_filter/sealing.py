"""What a masked prompt's placeholders stand for, on the request's record, where whichever
gateway serves the answer finds it and nobody else can read it.
"""

import base64
import hmac
from dataclasses import dataclass, field

import orjson

from schemas.inference import InferenceRequested
from services.common.requests import sealing


@dataclass(frozen=True, slots=True)
class PromptValues:
    """Values of a prompt.

    Attributes:
        values: placeholder → what it stands for.
        said: what the user said, by `output_rules.said`.
        unsaid: placeholders of what only others said: the system prompt's author.
    """

    values: dict[str, str] = field(default_factory=dict, repr=False)
    said: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)
    unsaid: frozenset[str] = frozenset()


def seal(values: PromptValues, request: InferenceRequested, pepper: str) -> str:
    """The values for the request's record; "" where there are none."""
    if not (values.values or values.said):
        return ""
    plain = orjson.dumps([values.values, sorted(values.said), sorted(values.unsaid)])
    return base64.b64encode(sealing.seal(plain, _key(pepper), _bound_to(request))).decode()


def unseal(sealed: str, request: InferenceRequested, pepper: str) -> PromptValues | None:
    """The values again; None where another pepper sealed them, or for another request."""
    if not sealed:
        return PromptValues()
    try:
        raw = base64.b64decode(sealed, validate=True)
        plain = sealing.unseal(raw, _key(pepper), _bound_to(request))
        if plain is None:
            return None
        values, said, unsaid = orjson.loads(plain)
        return PromptValues(values, frozenset((name, value) for name, value in said), frozenset(unsaid))
    except (ValueError, TypeError):
        return None


def _key(pepper: str) -> bytes:
    return hmac.digest(pepper.encode(), b"tocsin masked prompt 1", "sha256")


def _bound_to(request: InferenceRequested) -> bytes:
    """A sealed text is of use for one request of one tenant alone."""
    return f"{request.tenant}\0{request.request_id}".encode()
