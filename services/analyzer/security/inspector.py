"""Looks at requests' texts in a thread of its own, so that the process's other roles go
on, and within a share of one core, so that serving goes first on a small machine.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from schemas.events.security import RequestObserved
from schemas.inference import InferenceCompleted
from services.analyzer.security.domain.inspection import Judge, Wanted, observe_request
from services.common.errors import ConfigError, PermanentError
from services.common.process import metrics
from services.common.process.lru_cache import LruCache
from services.detection.prompt_attacks.detector import PromptDetector, Verdict

_VERDICTS = 4096
_THREATS = 64
"""The strongest rules of a verdict that are kept: a hostile text may match thousands."""


@dataclass
class Inspector:
    """What requests show. A text that was judged lately is not judged again: templates
    and histories of conversations come often.

    `share` of one core is used at most, on the average: after each request it rests as
    long as that takes.
    """

    load: Callable[[], Judge]
    wanted: Callable[[str], Wanted]
    share: float
    _judge: Judge | None = field(default=None, init=False)
    _verdicts: LruCache[bytes, Verdict] = field(default_factory=lambda: LruCache(_VERDICTS), init=False)
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="inspection"), init=False
    )

    async def start(self) -> None:
        """Loads the model.

        Raises:
            ConfigError: a file of it is missing.
        """
        self._judge = await asyncio.get_running_loop().run_in_executor(self._thread, self.load)

    async def inspect(self, events: Sequence[InferenceCompleted]) -> list[RequestObserved]:
        """What each of the requests shows, in their order.

        Raises:
            PermanentError: an event has a value that nothing can be made of, such as a
                time without a time zone.
        """
        try:
            return [await self._inspect(event) for event in events]
        except ValidationError as error:
            names = sorted({".".join(map(str, one["loc"])) for one in error.errors(include_input=False)})
            raise PermanentError(f"an end cannot be looked at for its {', '.join(names)}") from error

    def close(self) -> None:
        """Lets go of the thread, which ends with what it has begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _inspect(self, event: InferenceCompleted) -> RequestObserved:
        wanted = self.wanted(event.tenant)
        if not (event.prompt_text or event.response_text):
            metrics.SECURITY_INSPECTED.labels("behaviour").inc()
            return observe_request(event, self._known_or_judged, wanted)
        metrics.SECURITY_INSPECTED.labels("text").inc()
        loop = asyncio.get_running_loop()
        observed, spent_s = await loop.run_in_executor(self._thread, self._timed, event, wanted)
        if self.share < 1:
            await asyncio.sleep(spent_s * (1 / self.share - 1))
        return observed

    def _timed(self, event: InferenceCompleted, wanted: Wanted) -> tuple[RequestObserved, float]:
        """In the thread: what a request shows, and how much of a core that took (s)."""
        begun_s = time.thread_time()
        with metrics.SECURITY_INSPECTION_SECONDS.time():
            observed = observe_request(event, self._known_or_judged, wanted)
        return observed, time.thread_time() - begun_s

    def _known_or_judged(self, text: str) -> Verdict:
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        known = self._verdicts.get(digest)
        if known is not None:
            metrics.SECURITY_VERDICTS_KNOWN.inc()
            return known
        if self._judge is None:
            raise RuntimeError("the inspector was not started")
        verdict = self._judge(text)
        verdict = replace(verdict, threats=verdict.threats[:_THREATS])
        self._verdicts.put(digest, verdict)
        return verdict


def load_judge() -> Judge:
    """The prompt detector in full depth.

    Raises:
        ConfigError: a file of its model is missing.
    """
    try:
        detector = PromptDetector.load()
    except FileNotFoundError as error:
        raise ConfigError(
            f"a file of the prompt detector's model is missing: {error}; install Tocsin anew, or leave "
            "security out of TOCSIN_ANALYZER_ROLES"
        ) from error
    return lambda text: detector.inspect(text, depth="full")
