"""Why a change is refused."""

from typing import Self

from pydantic import BaseModel, ValidationError

from services.common.errors import PermanentError
from services.common.errors.value_rules import rule_of, shown


class ChangeRefusedError(PermanentError):
    """A change that cannot be made as asked."""


class NoSuchEntryError(ChangeRefusedError):
    """There is no such entry."""


class ConflictError(ChangeRefusedError):
    """The entry is another than the caller believes: it is there already, was changed
    meanwhile, or others still refer to it.
    """


class StaleError(ConflictError):
    """The entry is not in the version that the caller has seen."""


class InvalidChangeError(ChangeRefusedError):
    """Fields' values are not allowed: `problems` are their names and what is wrong,
    `field` is the first.
    """

    def __init__(self, field: str, message: str, *more: tuple[str, str]) -> None:
        self.field = field
        self.problems = ((field, message), *more)
        super().__init__("; ".join(f"{name}: {text}" for name, text in self.problems))

    @classmethod
    def of(cls, error: ValidationError, model: type[BaseModel]) -> Self:
        """The same of what is no `model`, each field by its path with what to write."""
        first, *more = (
            (".".join(map(str, one["loc"])), f"{rule_of(one, model)}{shown(one)}")
            for one in error.errors(include_url=False)
        )
        return cls(*first, *more)
