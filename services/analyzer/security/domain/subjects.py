"""The users and keys that are remembered, and who is forgotten first.

Names may be made up: whoever uses a key without an owner can name another user with
each request. So room is taken from the tenant that takes most of it, and a subject that
is suspected of something goes after those that are not: nobody can push another
tenant's users out, or himself.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass
class _Tenant(Generic[State]):
    """A tenant's subjects, those that were touched longest ago first."""

    calm: "OrderedDict[str, State]" = field(default_factory=OrderedDict)
    suspect: "OrderedDict[str, State]" = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.calm) + len(self.suspect)


@dataclass
class Subjects(Generic[State]):
    """At most `capacity` subjects, each named `kind:tenant/name`."""

    capacity: int
    _tenants: dict[str, _Tenant[State]] = field(default_factory=dict, init=False)
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, State]]:
        for tenant in self._tenants.values():
            yield from tenant.calm.items()
            yield from tenant.suspect.items()

    def get(self, subject: str) -> State | None:
        """What is remembered of a subject."""
        tenant = self._tenants.get(_tenant_of(subject))
        if tenant is None:
            return None
        found = tenant.suspect.get(subject)
        return tenant.calm.get(subject) if found is None else found

    def put(self, subject: str, state: State, *, suspected: bool) -> tuple[str, State] | None:
        """Remembers a subject as the latest that was touched; who is forgotten for it, and
        what was remembered of them.
        """
        tenant = self._tenants.setdefault(_tenant_of(subject), _Tenant())
        known = tenant.calm.pop(subject, None) or tenant.suspect.pop(subject, None)
        (tenant.suspect if suspected else tenant.calm)[subject] = state
        self._count += known is None
        return self._forget() if self._count > self.capacity else None

    def replace(self, subject: str, state: State) -> None:
        """Another state of one that is there; it is not touched by that."""
        tenant = self._tenants[_tenant_of(subject)]
        (tenant.suspect if subject in tenant.suspect else tenant.calm)[subject] = state

    def remove(self, subject: str) -> None:
        """Forgets one, whether or not it is there."""
        name = _tenant_of(subject)
        tenant = self._tenants.get(name)
        if tenant is None:
            return
        here = len(tenant)
        tenant.calm.pop(subject, None)
        tenant.suspect.pop(subject, None)
        self._count -= here - len(tenant)
        if not tenant:
            del self._tenants[name]

    def of_tenant(self, name: str) -> list[tuple[str, State]]:
        """The subjects of one tenant."""
        tenant = self._tenants.get(name)
        return [] if tenant is None else [*tenant.calm.items(), *tenant.suspect.items()]

    def _forget(self) -> tuple[str, State]:
        name, tenant = max(self._tenants.items(), key=lambda one: (len(one[1]), one[0]))
        forgotten = (tenant.calm or tenant.suspect).popitem(last=False)
        if not tenant:
            del self._tenants[name]
        self._count -= 1
        return forgotten


def _tenant_of(subject: str) -> str:
    return subject.partition(":")[2].partition("/")[0]
