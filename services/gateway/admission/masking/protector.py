"""Keeps values of a prompt from the model, or secrets from being sent at all, as the
tenant's policy has it; and says what is to be done to the answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.base import AnswerHandling
from schemas.control import PolicyChanged
from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested
from services.common.control.state import ControlState
from services.common.http.problems import malformed, unavailable
from services.common.process import metrics
from services.common.requests.masking.masker import Masker, NotMaskedError
from services.common.requests.masking.sensitive_texts import MaskedTexts, MaskScope
from services.common.requests.masking.texts import OPERATOR_ROLES
from services.detection.masking import find_placeholders
from services.detection.output_rules import said
from services.gateway.admission.masking.prompt_texts import PromptText, other_strings, texts_in, with_texts
from services.gateway.streams.output_filter.sealing import PromptValues, seal


@dataclass(frozen=True, slots=True)
class Protected:
    """A request as the model may have it; `secrets` are the kinds of those for which it
    is refused.
    """

    request: InferenceRequested
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _PromptPolicy:
    """What a tenant's policy asks for."""

    scope: MaskScope
    blocks: bool
    leaks: str
    personal: str

    @classmethod
    def of(cls, policy: PolicyChanged) -> "_PromptPolicy":
        looks = policy.scan_output
        return cls(
            MaskScope.of(secrets=policy.secrets == "mask", personal=policy.mask_prompt),
            policy.secrets == "block",
            policy.output_leaks if looks else "observe",
            policy.output_personal if looks else "observe",
        )

    @property
    def looks_at_answers(self) -> bool:
        return not self.leaks == self.personal == "observe"

    @property
    def anything(self) -> bool:
        return self.scope is not MaskScope.NOTHING or self.blocks or self.looks_at_answers


@dataclass
class Protector:
    """Protects the prompts of a call. Where a tenant wants nothing of it, it costs
    nothing.
    """

    state: Callable[[], ControlState]
    masker: Masker
    pepper: str = field(repr=False)

    async def protect(self, requests: Sequence[InferenceRequested]) -> list[Protected]:
        """The requests of one call, each as the model may have it.

        Raises:
            ProblemError: 503, the policy wants texts masked or judged, and that could
                not be done in time; 400, log-probabilities are asked for that would
                tell what answers must not.
        """
        policy = _PromptPolicy.of(self.state().policy_of(requests[0].tenant))
        if not policy.anything:
            return [Protected(request) for request in requests]
        if policy.looks_at_answers and any(request.sampling.logprobs for request in requests):
            raise malformed(
                "logprobs cannot be had while this tenant's answers are looked at on their way: they would "
                "tell what is hidden.",
                "logprobs",
                ErrorCode.UNSUPPORTED_PARAMETER,
            )
        return [await self._protect(request, policy) for request in requests]

    async def _protect(self, request: InferenceRequested, policy: _PromptPolicy) -> Protected:
        texts = texts_in(request)
        others = other_strings(request) if policy.blocks else []
        try:
            masked = await self.masker.mask(
                [*(one.text for one in texts), *others], policy.scope, tenant=request.tenant
            )
        except NotMaskedError as error:
            metrics.MASKED_PROMPTS.labels("refused").inc()
            raise unavailable(
                "The prompt could not be looked through for personal data and secrets in time, and this "
                "tenant's policy wants that. Nothing was begun. Try again.",
                code=ErrorCode.OVERLOADED,
            ) from error
        secrets = {one.type for some in masked.found for one in some if one.is_secret}
        if policy.blocks and secrets:
            metrics.MASKED_PROMPTS.labels("blocked").inc()
            return Protected(request, tuple(sorted(secrets)))
        metrics.MASKED_PROMPTS.labels("masked" if masked.vault.values else "clean").inc()
        if masked.vault.values:
            request = with_texts(request, iter(masked.texts))
        return Protected(self._handled(request, texts, masked, policy))

    def _handled(
        self,
        request: InferenceRequested,
        texts: Sequence[PromptText],
        masked: MaskedTexts,
        policy: _PromptPolicy,
    ) -> InferenceRequested:
        """The request with what is to be done to its answer; as it is, where that is
        nothing.
        """
        vault = masked.vault
        if not (vault.values or policy.looks_at_answers):
            return request
        values = PromptValues(dict(vault.values))
        if policy.looks_at_answers:
            users = [number for number, one in enumerate(texts) if one.role not in OPERATOR_ROLES]
            told = frozenset(
                said(one.name, one.canonical) for number in users for one in masked.found[number]
            )
            shown = {one for number in users for _, _, one in find_placeholders(masked.texts[number])}
            values = PromptValues(values.values, told, frozenset(vault.values.keys() - shown))
        sealed = seal(values, request, self.pepper)
        handling = AnswerHandling.model_validate(
            {"sealed": sealed, "leaks": policy.leaks, "personal": policy.personal}
        )
        return request.model_copy(update={"answer": handling})
