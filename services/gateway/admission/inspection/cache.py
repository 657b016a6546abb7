"""What was read lately: conversations send all that was said before with each turn."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from services.common.control.thresholds import Thresholds
from services.common.process.lru_cache import LruCache
from services.gateway.admission.inspection.reading import Judgement, Reading


@dataclass
class VerdictCache:
    """Verdicts by keyed digests: no text is kept, and no tenant finds another's by how
    fast it is answered. About 350 bytes a reading.
    """

    readings: LruCache[bytes, Reading] = field(default_factory=lambda: LruCache(16_384))
    judgements: LruCache[bytes, Judgement] = field(default_factory=lambda: LruCache(8_192))
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
