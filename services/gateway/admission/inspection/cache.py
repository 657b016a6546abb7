"""What was read lately: conversations send all that was said before with each turn."""

import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Generic, TypeVar

from services.common.control.thresholds import Thresholds
from services.gateway.admission.inspection.reading import Judgement, Reading

_Found = TypeVar("_Found", Reading, Judgement)


@dataclass
class Lately(Generic[_Found]):
    """The newest `capacity` verdicts by what stands for a text."""

    capacity: int
    _found: "OrderedDict[bytes, _Found]" = field(default_factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: bytes) -> _Found | None:
        """What was read; None where that is not known any more."""
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: bytes, found: _Found) -> None:
        """Keeps what was read, and forgets what was not asked for longest."""
        self._found[key] = found
        self._found.move_to_end(key)
        if len(self._found) > self.capacity:
            self._found.popitem(last=False)


@dataclass
class VerdictCache:
    """Verdicts by keyed digests: no text is kept, and no tenant finds another's by how
    fast it is answered. About 350 bytes a reading.
    """

    readings: Lately[Reading] = field(default_factory=lambda: Lately(16_384))
    judgements: Lately[Judgement] = field(default_factory=lambda: Lately(8_192))
    _secret: bytes = field(default_factory=lambda: os.urandom(16), init=False, repr=False)

    def keys(self, texts: Iterable[str], tenant: str, thresholds: Thresholds) -> dict[str, bytes]:
        """What stands for each text, as a tenant's thresholds read it."""
        scope = _scope(tenant, thresholds)
        return {
            text: blake2b(
                text.encode(errors="surrogatepass"), digest_size=16, key=self._secret, person=scope
            ).digest()
            for text in texts
        }


@lru_cache(maxsize=256)
def _scope(tenant: str, thresholds: Thresholds) -> bytes:
    return blake2b(f"{tenant}\0{thresholds}".encode(errors="surrogatepass"), digest_size=16).digest()
