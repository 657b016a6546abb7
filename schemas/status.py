"""Parts of what replicas and dispatchers say of themselves on inference.status."""

from schemas.base import Message


class Running(Message):
    """An attempt that a replica holds, how many tokens it has generated, and how many
    its prompt has.
    """

    request_id: str
    attempt: int
    tokens: int = 0
    prompt_tokens: int = 0


class TenantTurn(Message):
    """A tenant in the order of its lane: how many of it wait, and how many it is served
    in a turn. `left` is how many it still gets of a turn that has begun.

    Without a name: all those together that are not told one by one.
    """

    tenant: str = ""
    waiting: int
    share: int = 1
    left: int | None = None
