"""The process of `child.py`, as the service that asks it sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.process.child.child_process import ChildLostError, ChildProcess
from services.common.requests.masking.child import from_json
from services.common.requests.masking.sensitive_texts import Hidden, Inspected

_MODULE = "services.common.requests.masking.child"


@dataclass(slots=True, eq=False)
class MaskingProcess(ChildProcess):
    """Inspects the texts of one request at a time."""

    @classmethod
    async def start(cls) -> "MaskingProcess":
        """Starts a process.

        Raises:
            ChildLostError: it does not start.
        """
        return await cls.spawn(_MODULE)

    async def inspect(self, texts: Sequence[str], hidden: Hidden) -> Inspected:
        """What `inspect` gives, made there; see `ChildProcess.ask`.

        Raises:
            ChildLostError: the process is no more, or says what it never would.
        """
        told = await self.ask({"texts": list(texts), "hidden": hidden})
        try:
            return from_json(told)
        except (ValueError, TypeError) as error:
            raise ChildLostError(type(error).__name__) from error
