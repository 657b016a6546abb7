"""Has grammars compiled where it harms nobody, before a model's own process does."""

import hashlib
from dataclasses import dataclass, field

from services.common.process.child.child_process import ChildLostError, ChildProcess
from services.common.process.child.on_demand import Child, NotAnsweredError, OnDemandChild
from services.common.process.lru_cache import LruCache
from services.inference.engines.base import EngineFailedError
from services.inference.engines.formats.json_grammar import Constraint, refusal

_MODULE = "services.inference.engines.formats.grammar_child"
_PATIENCE_S, _JOB_S = 30.0, 60.0
"""Of waiting. What bounds a job is its CPU, which a busy machine gives slowly."""
_REMEMBERED = 256
_TOO_LARGE = "it takes too long or too much memory to compile; lower the bounds or simplify it"


async def _start() -> Child:
    try:
        return await ChildProcess.spawn(_MODULE)
    except ChildLostError as error:
        raise EngineFailedError(f"no grammar can be compiled: {error}") from error


@dataclass
class GrammarCompiler:
    """Asks the process of `grammar_child.py`, which is started for the first grammar (40
    MB). The latest verdicts are remembered.
    """

    child: OnDemandChild = field(default_factory=lambda: OnDemandChild(_start, _PATIENCE_S, _JOB_S))
    _complaints: LruCache[bytes, str] = field(default_factory=lambda: LruCache(_REMEMBERED), init=False)

    async def check(self, constraint: Constraint, *, tenant: str) -> None:
        """Returns where a model may be given the grammar.

        Raises:
            InvalidRequestError: it cannot be held, or would take too long to compile.
            EngineFailedError: that cannot be told now.
        """
        digest = hashlib.sha256(constraint.grammar.encode(errors="surrogatepass")).digest()
        complaint = self._complaints.get(digest)
        if complaint is None:
            complaint = await self._ask(constraint.grammar, tenant)
            self._complaints.put(digest, complaint)
        if complaint:
            raise refusal(complaint, constraint.param)

    async def close(self) -> None:
        """Ends the process."""
        await self.child.close()

    async def _ask(self, grammar: str, tenant: str) -> str:
        try:
            return str(await self.child.ask(grammar, tenant=tenant))
        except NotAnsweredError as error:
            if error.why == "lost":  # killed by its own limits
                return _TOO_LARGE
            raise EngineFailedError(f"the grammar could not be compiled in time ({error.why})") from error
