"""The dispatchers of one process, one for each model, and the prices that they need."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from services.common.control.reader import ControlReader
from services.common.errors import TocsinError
from services.common.requests.masking.recording import StoreText, TextRecording, stored_text
from services.common.requests.model_catalogue import ModelConfig
from services.common.requests.pricing import PriceList
from services.inference.dispatcher.dispatcher import Dispatcher
from services.inference.domain.dispatch import DispatchRules

log = structlog.get_logger(__name__)

_RETRY_S = 1.0


@dataclass
class Dispatchers:
    """Begin once the control state is read: what an end costs, and what of its texts is
    told, it says. `store_text` is what is told where no policy says so.
    """

    url: str = field(repr=False)
    name: str
    models: tuple[ModelConfig, ...]
    store_text: StoreText = "masked"
    replica_silence_s: float = 1.0
    _members: list[Dispatcher] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._control = ControlReader(self.url, f"dispatcher-{self.name}")
        self._texts = TextRecording(lambda tenant: stored_text(self._control.state, tenant, self.store_text))

    async def run(self) -> None:
        """Works until `close`, or until cancelled."""
        await self._read_control()
        self._members = list(self._make())
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._control.run())
            await asyncio.gather(*(dispatcher.run() for dispatcher in self._members))
            following.cancel()

    async def close(self) -> None:
        """Commits what has ended, and leaves the groups."""
        await asyncio.gather(*(dispatcher.close() for dispatcher in self._members))
        await self._texts.close()
        await self._control.close()

    async def _read_control(self) -> None:
        while not self._control.caught_up:
            try:
                await self._control.start()
            except TocsinError as error:
                log.warning("dispatcher_waits_for_control_state", error=str(error))
                await self._control.close()
                await asyncio.sleep(_RETRY_S)

    def _make(self) -> Iterable[Dispatcher]:
        prices = PriceList({model.name: model.price for model in self.models}, lambda: self._control.state)
        for model in self.models:
            rules = DispatchRules(
                model=model.name,
                price_at=prices.of(model.name),
                replica_silence_s=self.replica_silence_s,
            )
            yield Dispatcher(self.url, f"{model.name}@{self.name}", model, rules, self._texts)
