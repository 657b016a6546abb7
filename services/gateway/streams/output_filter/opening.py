"""The output_filter of a request's answer, from what the request brings along."""

from functools import lru_cache

import structlog

from schemas.base import AnswerHandling
from schemas.inference import InferenceRequested
from services.common.process import metrics
from services.common.requests.masking.texts import OPERATOR_ROLES, content_text
from services.detection.masking import Vault
from services.detection.output_rules import ScanRules
from services.detection.system_prompt_echo import WatchedPrompt, watch
from services.gateway.streams.output_filter.output_filter import OutputFilter
from services.gateway.streams.output_filter.sealing import PromptValues, unseal
from services.gateway.streams.output_filter.text_filter import AnswerRules

log = structlog.get_logger(__name__)

_PROMPTS = 64


def output_filter_of(request: InferenceRequested, pepper: str) -> OutputFilter | None:
    """What a request's answer passes through; None where nothing is done to it."""
    handling = request.answer
    if handling is None:
        return None
    values = unseal(handling.sealed, request, pepper)
    if values is None:  # sealed under another pepper: placeholders stay, and nothing counts as said
        metrics.ANSWERS_UNSEALED.inc()
        log.error("masked_prompt_cannot_be_unsealed", request_id=request.request_id)
        values = PromptValues()
    rules = AnswerRules(Vault(values.values), _scan_of(request, handling, values))
    return OutputFilter(
        rules, request.sampling.n, content_is_json=request.sampling.response_format is not None
    )


def _scan_of(request: InferenceRequested, handling: AnswerHandling, values: PromptValues) -> ScanRules | None:
    if handling.leaks == handling.personal == "observe":
        return None
    prompt = None
    if handling.leaks != "observe":
        texts = [
            content_text(message.get("content"))
            for message in request.messages
            if message.get("role") in OPERATOR_ROLES
        ]
        prompt = _watched("\n".join(texts)) if texts else None
    return ScanRules(values.said, prompt, handling.personal, handling.leaks, values.unsaid)


@lru_cache(_PROMPTS)
def _watched(system_prompt: str) -> WatchedPrompt | None:
    """Most requests of a tenant have one of a few system prompts; a long one takes
    milliseconds to prepare.
    """
    return watch(system_prompt)
