"""Why a change is refused."""

from services.common.errors import PermanentError


class ChangeRefusedError(PermanentError):
    """A change that cannot be made as asked."""


class NoSuchEntryError(ChangeRefusedError):
    """There is no such entry."""


class ConflictError(ChangeRefusedError):
    """The entry is another than the caller believes: it is there already, was changed
    meanwhile, or others still refer to it.
    """


class InvalidChangeError(ChangeRefusedError):
    """A field's value is not allowed; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
