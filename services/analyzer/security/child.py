"""A process that looks at requests' texts, beside an analyzer whose other roles must go
on whatever a text does to a rule.

It has no settings and no secrets, is asked on one socket, and ends when the analyzer
does. A text that takes more CPU than any that people write is left.
"""

import hashlib
import os
import time
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from schemas.events.security import RequestObserved
from schemas.inference import InferenceCompleted
from services.analyzer.security.domain.inspection import Judge, Wanted, observe_request
from services.common.control.thresholds import Thresholds
from services.common.process.child.frames import inherited_socket, serve
from services.common.process.interpreter import cpu_limit
from services.common.process.lru_cache import LruCache
from services.detection.prompt_attacks.detector import PromptDetector, Verdict

_NICE = 5
"""What is served goes first: on saturated cores this gets a third of what a service gets."""
CPU_S = 5.0
"""The longest that a gateway lets through takes some three."""
_VERDICTS = 4096
_THREATS = 64
"""The strongest rules of a verdict that are kept: a hostile text may match thousands."""


@dataclass
class Looking:
    """Answers jobs as `job` makes them. A text that was judged lately is not judged
    again: templates and histories of conversations come often.
    """

    judge: Judge
    cpu_s: float = CPU_S
    _verdicts: LruCache[bytes, Verdict] = field(default_factory=lambda: LruCache(_VERDICTS), init=False)
    _known: int = field(default=0, init=False)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a request shows (`seen`), or that it took too long (`left`), or which of
        its fields nothing can be made of (`invalid`); how many verdicts were `known`,
        and how much CPU it took.
        """
        if not asked:
            return {}
        begun_s, self._known = time.process_time(), 0
        try:
            with cpu_limit(self.cpu_s):
                found: dict[str, Any] = {"seen": self._look(asked).model_dump_json()}
        except TimeoutError:
            found = {"left": f"more than {self.cpu_s:g} s of CPU"}
        except ValidationError as error:
            found = {"invalid": invalid_fields(error)}
        return found | {"known": self._known, "spent_s": time.process_time() - begun_s}

    def _look(self, asked: dict[str, Any]) -> RequestObserved:
        event = InferenceCompleted.model_validate_json(asked["event"])
        fields = asked["wanted"]
        wanted = Wanted(**(fields | {"thresholds": Thresholds(*fields["thresholds"])}))
        return observe_request(event, self._known_or_judged, wanted)

    def _known_or_judged(self, text: str) -> Verdict:
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        known = self._verdicts.get(digest)
        if known is not None:
            self._known += 1
            return known
        verdict = self.judge(text)
        verdict = replace(verdict, threats=verdict.threats[:_THREATS])
        self._verdicts.put(digest, verdict)
        return verdict


def job(event: InferenceCompleted, wanted: Wanted) -> dict[str, Any]:
    """What the process is asked; an empty job only asks whether it is there."""
    fields = {
        "prompts": wanted.prompts,
        "answers": wanted.answers,
        "thresholds": list(wanted.thresholds),
        "leaks": wanted.leaks,
        "personal": wanted.personal,
    }
    return {"event": event.model_dump_json(), "wanted": fields}


def invalid_fields(error: ValidationError) -> list[str]:
    """The names of what was wrong, without the values."""
    return sorted({".".join(map(str, one["loc"])) for one in error.errors(include_input=False)})


def load_judge() -> Judge:
    """The prompt detector in full depth.

    Raises:
        FileNotFoundError: a file of its model is missing.
    """
    detector = PromptDetector.load()
    return lambda text: detector.inspect(text, depth="full")


def main() -> None:
    """Answers until the analyzer hangs up."""
    connection = inherited_socket()
    try:
        judge = load_judge()
    except FileNotFoundError as error:
        missing = {"missing": str(error)}
        serve(connection, lambda _job: missing)
        return
    os.nice(_NICE)  # only now: the analyzer waits for the model
    serve(connection, Looking(judge).answer)


if __name__ == "__main__":
    main()
