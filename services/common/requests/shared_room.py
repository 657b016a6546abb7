"""Room that tenants share, so that no flood of some leaves none for others. Pure."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class SharedRoom:
    """So many bytes, or things, that may be taken together.

    A tenant may take as much as is free beside it (the dynamic thresholds of shared
    buffers, Choudhury and Hahne 1998): alone it gets half of the room, two get a third
    each, and however many flood, there is room for others.
    """

    size: int
    taken: int = field(default=0, init=False)
    _of_tenant: "Counter[str]" = field(default_factory=Counter, init=False)

    def has(self, tenant: str, size: int) -> bool:
        """Whether a tenant may take so much more."""
        return self._of_tenant[tenant] + size <= self.size - self.taken - size

    def take(self, tenant: str, size: int) -> bool:
        """Takes so much; False, and takes nothing, where there is no room."""
        if not self.has(tenant, size):
            return False
        self.taken += size
        self._of_tenant[tenant] += size
        return True

    def give_back(self, tenant: str, size: int) -> None:
        """Gives so much back."""
        self.taken -= size
        self._of_tenant[tenant] -= size
        if not self._of_tenant[tenant]:
            del self._of_tenant[tenant]
