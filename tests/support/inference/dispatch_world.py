"""A dispatcher's world in memory: a lane, a status log, replicas, and a clock of ours."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from schemas.base import Running
from schemas.inference import (
    CancelRequested,
    Delivered,
    End,
    InferenceCompleted,
    InferenceRequested,
    Lane,
    LogPosition,
    Outcome,
    ReplicaBeat,
    ReplyEnded,
    ReplyTo,
    RequestFinished,
    RetryNeeded,
    Usage,
)
from services.common.requests.pricing import UNKNOWN
from services.inference.domain.dispatch import (
    Action,
    Assign,
    Dispatch,
    DispatchRules,
    Moment,
    Reply,
    Takeover,
    Withdraw,
)
from services.inference.domain.dispatch.rules import ReadAhead
from services.inference.domain.offsets import OffsetTracker

START = datetime(2026, 1, 1, tzinfo=UTC)
LANE = "lane"
RULES = DispatchRules(model="m", price_at=lambda _: UNKNOWN)
TIGHT = DispatchRules(model="m", price_at=lambda _: UNKNOWN, read_ahead=ReadAhead(per_tenant=1, per_lane=2))
"""Nearly everything is left in the log and read again."""


def request(
    number: int, *, attempt: int = 1, deadline_s: float = 1e6, tenant: str = "acme", **fields: object
) -> InferenceRequested:
    """A request by its number."""
    values = {
        "request_id": f"r{number}",
        "attempt": attempt,
        "kind": "completion",
        "model": "m",
        "lane": Lane.INTERACTIVE,
        "tenant": tenant,
        "key_id": "k",
        "prompt": "hi",
        "reply_to": ReplyTo(partition=0, gateway_id="g"),
        "requested_at": START,
        "deadline": START + timedelta(seconds=deadline_s),
    }
    return InferenceRequested.model_validate(values | fields)


def position(offset: int) -> LogPosition:
    """A record's place in the lane."""
    return LogPosition(topic=LANE, partition=0, offset=offset)


@dataclass
class World:
    """A lane, a status log, replicas, and a dispatcher that may be replaced at any
    time; the clock is ours.
    """

    rules: DispatchRules = RULES
    now_s: float = 0.0
    lane: list[InferenceRequested] = field(default_factory=list)
    status: list[ReplicaBeat | RequestFinished] = field(default_factory=list)
    commands: list[CancelRequested] = field(default_factory=list)
    replicas: dict[str, dict[tuple[str, int], None]] = field(default_factory=dict)
    committed: tuple[int, str] = (0, "")
    ends: list[InferenceCompleted] = field(default_factory=list)
    told: list[ReplyEnded | RetryNeeded] = field(default_factory=list)
    follows: bool = True
    garbled: set[int] = field(default_factory=set)
    """Offsets of records that cannot be read; the lane has what can be said of them."""
    kept_from: int = 0
    """Retention has taken the lane's records before this one."""
    tokens: int = 0
    """What every beat says of every attempt."""

    def __post_init__(self) -> None:
        self.replica_count = 0
        self.take_over()

    def now(self) -> Moment:
        """The time, on both clocks."""
        return Moment(START + timedelta(seconds=self.now_s), self.now_s)

    def take_over(self) -> None:
        """A new dispatcher: what the old one had not committed is gone; the log is not."""
        tracker = OffsetTracker.restore(*self.committed)
        self.dispatch = Dispatch(self.rules, {LANE: tracker}, Takeover({}, self.now_s))
        self.read = self.committed[0]
        self.read_lane()
        for cancel in self.commands:
            self.dispatch.on_refusal(cancel)
        for status in self.status:
            self.give_status(status, live=False)
        for cancel in self.commands:
            self.act(self.dispatch.on_cancel(cancel, self.now()))

    def read_lane(self) -> None:
        """The dispatcher reads what it has not read."""
        while self.read < len(self.lane):
            offset, self.read = self.read, self.read + 1
            one, at, now = self.lane[offset], position(offset), self.now()
            if offset in self.garbled:
                self.act(self.dispatch.on_unreadable(one, at, now))
            else:
                self.act(self.dispatch.on_request(one, at, now, size_bytes=10))

    def load(self) -> None:
        """The dispatcher gets again what it left in the log and wants."""
        while wanted := self.dispatch.waiting.backlogs[LANE].wanted():
            for offset in wanted:
                if offset < self.kept_from:
                    self.act(self.dispatch.on_gone(position(offset), self.now()))
                    continue
                self.act(self.dispatch.on_deferred(self.lane[offset], position(offset), self.now()))

    def ask(self, *requests: InferenceRequested) -> None:
        """Requests come."""
        self.lane.extend(requests)
        self.read_lane()

    def add_replica(self) -> str:
        """A replica starts, and beats."""
        self.replica_count += 1
        name = f"m#{self.replica_count}"
        self.replicas[name] = {}
        self.beat()
        return name

    def beat(self) -> None:
        """Every replica beats."""
        for name, running in list(self.replicas.items()):
            held = tuple(
                Running(request_id=request_id, attempt=attempt, tokens=self.tokens)
                for request_id, attempt in running
            )
            beat = ReplicaBeat(
                replica_id=name, model="m", host="h", pid=1, inbox=0, inbox_position=0, slots=2, running=held
            )
            self.status.append(beat)
            self.give_status(beat, live=True)

    def finish(self, name: str, key: tuple[str, int], outcome: Outcome = Outcome.COMPLETED) -> None:
        """A replica is done with an attempt."""
        del self.replicas[name][key]
        end = End(outcome=outcome, usage=Usage(prompt_tokens=1, completion_tokens=2))
        finished = RequestFinished(
            replica_id=name,
            model="m",
            request_id=key[0],
            attempt=key[1],
            end=end,
            choices=(Delivered(text="answer", tokens=2),),
        )
        self.status.append(finished)
        self.give_status(finished, live=True)

    def give_status(self, status: ReplicaBeat | RequestFinished, *, live: bool) -> None:
        """The dispatcher reads a status record."""
        if isinstance(status, ReplicaBeat):
            self.act(self.dispatch.on_beat(status, self.now(), live=live))
        else:
            self.act(self.dispatch.on_finished(status, self.now()))

    def pass_time(self, seconds: float) -> None:
        """Time passes, with ticks and beats as in life."""
        for _ in range(round(seconds / 0.25)):
            self.now_s += 0.25
            self.beat()
            self.act(self.dispatch.on_tick(self.now()))
            self.load()

    def commit(self) -> None:
        """The transaction: ends and offsets, at once."""
        self.committed = self.dispatch.trackers[LANE].commit_point()
        self.ends += [one.event for one in self.dispatch.completions.take()]

    def act(self, actions: list[Action]) -> None:
        """What the dispatcher wants done, done."""
        for action in actions:
            if isinstance(action, Assign):
                self.assigned(action)
            elif isinstance(action, Withdraw):
                if (action.request_id, action.attempt) in self.replicas.get(action.replica_id, {}):
                    self.finish(action.replica_id, (action.request_id, action.attempt), Outcome.CANCELLED)
            elif isinstance(action, Reply):
                self.told.append(action.message)
                if isinstance(action.message, RetryNeeded) and self.follows:
                    self.follow(action.message)

    def assigned(self, action: Assign) -> None:
        """A replica takes an attempt; no other may hold the same one."""
        key = (action.request.request_id, action.request.attempt)
        assert not any(key in running for running in self.replicas.values()), f"{key} runs already"
        if action.replica_id in self.replicas:
            self.replicas[action.replica_id][key] = None
            assert len(self.replicas[action.replica_id]) <= 2 + len(self.lane), "slots"

    def follow(self, retry: RetryNeeded) -> None:
        """Whoever follows the stream publishes the next attempt."""
        known = [one for one in self.lane if one.request_id == retry.request_id]
        if known[-1].attempt == retry.attempt:
            delivered = (Delivered(text="ans", tokens=1),)
            self.lane.append(
                known[-1].model_copy(
                    update={"attempt": retry.attempt + 1, "previous": retry.origin, "delivered": delivered}
                )
            )

    def running_for_nobody(self) -> list[tuple[str, int]]:
        """Attempts that replicas hold though their requests have ended."""
        held = [key for running in self.replicas.values() for key in running]
        return [key for key in held if key[0] not in self.dispatch.requests]

    def settle(self) -> None:
        """Everything goes well until nothing is left to do."""
        for _ in range(200):
            if not self.replicas:
                self.add_replica()
            self.read_lane()
            self.load()
            self.pass_time(0.5)
            for name, running in list(self.replicas.items()):
                for key in list(running):
                    if key in self.replicas[name]:
                        self.finish(name, key)
            self.commit()
            if self.committed == (len(self.lane), ""):
                return
        raise AssertionError("it never came to rest")
