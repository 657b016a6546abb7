"""Reads texts by services/detection. What that needs (NumPy, onnxruntime, 0.4 s of CPU)
is imported when it is loaded, not before.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from services.common.control.thresholds import DEFAULT_THRESHOLDS, Thresholds
from services.gateway.admission.inspection.reading import Judgement, Reading

if TYPE_CHECKING:
    from services.detection.prompt_attacks.detector import PromptDetector

_DETECTORS = 256
_FIRST = "What is read first takes longer than what follows."


class _NoEncoder:
    """Stands in where only rules and n-grams are asked: the encoder takes 150 MB."""

    def embed(self, texts: Sequence[str]) -> NoReturn:
        raise RuntimeError(f"{len(texts)} texts came to a reader without the encoder; ask a worker")


class Screener:
    """Rules and n-grams, and the model where it was loaded `with_model`."""

    def __init__(
        self,
        detector_of: "Callable[[Thresholds], PromptDetector]",
        suspicion: Callable[[str], float],
        versions: tuple[str, str],
    ) -> None:
        self._detector_of = lru_cache(_DETECTORS)(detector_of)
        self._suspicion = suspicion
        self.versions = versions

    @classmethod
    def load(cls, *, with_model: bool) -> "Screener":
        """Reads rules and weights from disk, and the encoder with them if wanted."""
        from services.detection.prompt_attacks.detector import (  # noqa: PLC0415  heavy
            DetectorConfig,
            PromptDetector,
        )
        from services.detection.prompt_attacks.model import (  # noqa: PLC0415  heavy
            MODEL_FOLDER,
            PromptModel,
            Weights,
            load_model,
        )
        from services.detection.prompt_attacks.normalise import fold  # noqa: PLC0415
        from services.detection.prompt_attacks.rules import load_rules  # noqa: PLC0415

        rules = load_rules()
        model = (
            load_model(MODEL_FOLDER)
            if with_model
            else PromptModel(Weights.load(MODEL_FOLDER / "weights.npz"), _NoEncoder())
        )
        screener = cls(
            lambda thresholds: PromptDetector(rules, model, DetectorConfig(*thresholds)),
            lambda text: model.ngram_logit(fold(text)),
            (model.weights.version, rules.version),
        )
        (screener.judge if with_model else screener.read)(_FIRST, DEFAULT_THRESHOLDS)
        return screener

    def read(self, text: str, thresholds: Thresholds) -> Reading:
        """What rules say; some 0.15 ms for a short text, 1 to 3 ms for 1,536 characters."""
        verdict = self._detector_of(thresholds).rules_only(text)
        if not verdict.threats:
            return Reading(verdict.score, 0.0)
        attack_points = sum(threat.weight for threat in verdict.threats if threat.weight > 0)
        return Reading(verdict.score, attack_points, categories=verdict.categories)

    def suspicion(self, text: str) -> float:
        """N-grams' log-odds of an attack; 0.1 ms for a short text."""
        return self._suspicion(text)

    def judge(self, text: str, thresholds: Thresholds) -> Judgement:
        """What rules and model say together; 4 to 10 ms of CPU."""
        verdict = self._detector_of(thresholds).inspect(text)
        return Judgement(verdict.score, verdict.probability, verdict.categories)
