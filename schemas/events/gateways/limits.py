"""What gateways tell each other of the use of limits: limits.shares."""

from pydantic import Field

from schemas.base import Finite, Message

MAX_NAMES = 1000
"""Names in one record; what does not fit comes with the next."""


class LimitShares(Message):
    """A gateway's own part in the use of limits, several times a second while it
    changes, else once a second.

    `used` is what was used since its last record, in seconds of each limit's period,
    and adds up. `held` is what it holds at present (requests in flight, reserved
    tokens, reserved money), 0 where it holds nothing any more; only what changed is
    told, and again from time to time. `incarnation` changes with a restart, and nothing
    of the former one is held any more.

    `serial` counts the records of an incarnation. `read_to` is the offset of the last
    record of this topic that it had read, given only where this record and those before
    it tell all that is held. `ends_read` tells, by partition of `inference.completed`,
    up to which offset (exclusive) it has counted what requests cost; nothing where it
    counts none. `answer_soon`: another gateway's next record is waited for.
    """

    gateway_id: str
    incarnation: str
    used: dict[str, Finite] = Field(default_factory=dict)
    held: dict[str, Finite] = Field(default_factory=dict)
    stopping: bool = False
    serial: int | None = None
    read_to: int | None = None
    ends_read: dict[int, int] | None = None
    answer_soon: bool = False
