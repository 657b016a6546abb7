"""Dispatching as a game: requests come, replicas and dispatchers die at any moment, and
every request must end exactly once.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

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
    Running,
    Usage,
)
from services.common.model_catalogue import Price
from services.inference.domain.dispatching import (
    Action,
    Assign,
    Dispatch,
    DispatchRules,
    Moment,
    Tell,
    Withdraw,
)
from services.inference.domain.offsets import OffsetTracker

START = datetime(2026, 1, 1, tzinfo=UTC)
LANE = "lane"
RULES = DispatchRules(model="m", price=Price())


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

    def __post_init__(self) -> None:
        self.replica_count = 0
        self.take_over()

    def now(self) -> Moment:
        """The time, on both clocks."""
        return Moment(START + timedelta(seconds=self.now_s), self.now_s)

    def take_over(self) -> None:
        """A new dispatcher: what the old one had not committed is gone; the log is not."""
        tracker = OffsetTracker.restore(*self.committed)
        self.dispatch = Dispatch(self.rules, {LANE: tracker}, {}, self.now_s)
        self.read = self.committed[0]
        self.read_lane()
        for status in self.status:
            self.give_status(status, live=False)
        for cancel in self.commands:
            self.act(self.dispatch.on_cancel(cancel, self.now()))

    def read_lane(self) -> None:
        """The dispatcher reads what it has not read."""
        while self.read < len(self.lane):
            offset, self.read = self.read, self.read + 1
            self.act(
                self.dispatch.on_request(
                    self.lane[offset], LogPosition(topic=LANE, partition=0, offset=offset), self.now()
                )
            )

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
            held = tuple(Running(request_id=request_id, attempt=attempt) for request_id, attempt in running)
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

    def commit(self) -> None:
        """The transaction: ends and offsets, at once."""
        self.committed = self.dispatch.trackers[LANE].commit_point()
        self.ends += self.dispatch.take_ends()

    def act(self, actions: list[Action]) -> None:
        """What the dispatcher wants done, done."""
        for action in actions:
            if isinstance(action, Assign):
                self.assigned(action)
            elif isinstance(action, Withdraw):
                if (action.request_id, action.attempt) in self.replicas.get(action.replica_id, {}):
                    self.finish(action.replica_id, (action.request_id, action.attempt), Outcome.CANCELLED)
            elif isinstance(action, Tell):
                self.told.append(action.reply)
                if isinstance(action.reply, RetryNeeded) and self.follows:
                    self.follow(action.reply)

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

    def settle(self) -> None:
        """Everything goes well until nothing is left to do."""
        for _ in range(200):
            if not self.replicas:
                self.add_replica()
            self.read_lane()
            self.pass_time(0.5)
            for name, running in list(self.replicas.items()):
                for key in list(running):
                    if key in self.replicas[name]:
                        self.finish(name, key)
            self.commit()
            if self.committed == (len(self.lane), ""):
                return
        raise AssertionError("it never came to rest")


STEPS = (
    ["ask"] * 6
    + ["finish"] * 4
    + ["time"] * 3
    + ["replica"] * 3
    + ["commit"] * 2
    + ["kill replica", "kill dispatcher", "kill dispatcher", "cancel", "silence", "silence"]
)


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(5, 80))
def test_dispatch_any_order_of_deaths_every_request_ends_exactly_once(seed: int, length: int) -> None:
    """Whatever dies when: each request that was asked has one committed end, and none
    has two.
    """
    world, chance = World(), random.Random(seed)
    for _ in range(length):
        play(world, chance.choice(STEPS), chance.randrange(8))
    world.settle()
    asked = {one.request_id for one in world.lane}
    assert sorted(end.request_id for end in world.ends) == sorted(asked)


def play(world: World, step: str, number: int) -> None:
    """One step of the game."""
    names = list(world.replicas)
    if step == "ask":
        world.ask(request(len(world.lane) + 1000 * number, tenant=f"t{number % 3}"))
    elif step == "replica" and len(names) < 4:
        world.add_replica()
    elif step == "kill replica" and names:
        del world.replicas[names[number % len(names)]]
    elif step == "kill dispatcher":
        world.take_over()
    elif step == "finish":
        held = [(name, key) for name, running in world.replicas.items() for key in running]
        if held:
            world.finish(*held[number % len(held)])
    elif step == "commit":
        world.commit()
    elif step == "time":
        world.pass_time(number / 2)
    elif step == "cancel" and world.lane:
        cancel = CancelRequested(
            request_id=world.lane[number % len(world.lane)].request_id,
            model="m",
            tenant="acme",
            reason="test",
        )
        world.commands.append(cancel)
        world.act(world.dispatch.on_cancel(cancel, world.now()))
    elif step == "silence" and world.lane:  # a gateway gives an attempt up that is in fact alive, or over
        last = [
            one for one in world.lane if one.request_id == world.lane[number % len(world.lane)].request_id
        ][-1]
        offset = max(index for index, one in enumerate(world.lane) if one.request_id == last.request_id)
        origin = LogPosition(topic=LANE, partition=0, offset=offset)
        if last.attempt < 4:
            world.ask(last.model_copy(update={"attempt": last.attempt + 1, "previous": origin}))


def test_dispatch_replica_silent_for_a_second_asks_for_a_retry() -> None:
    """The reply stream of the stream is asked, since it alone knows what was delivered."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    del world.replicas[name]
    world.follows = False
    world.pass_time(1.5)
    assert [type(one) for one in world.told] == [RetryNeeded]


def test_dispatch_retry_unanswered_ends_failed() -> None:
    """With its replica dead and nobody following, a request ends as failed after ten
    seconds.
    """
    world = World(follows=False)
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    del world.replicas[name]
    world.pass_time(13)
    world.commit()
    assert [(end.outcome, end.error_code) for end in world.ends] == [(Outcome.FAILED, "replica_lost")]


def test_dispatch_attempt_after_the_end_is_told_the_whole_answer() -> None:
    """A reply stream that gave up too early gets the text that the recorded end has."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    world.finish(name, ("r1", 1))
    world.commit()
    world.ask(request(1, attempt=2, previous=LogPosition(topic=LANE, partition=0, offset=0)))
    (told,) = world.told
    assert isinstance(told, ReplyEnded)
    assert told.choices[0].text == "answer"
    world.commit()
    assert (len(world.ends), world.committed) == (1, (2, ""))


def test_dispatch_client_saw_the_end_that_was_lost_records_it_without_generating() -> None:
    """A replica that died between its last chunk and its report costs nothing: the
    reply stream brings the end.
    """
    world = World()
    world.pass_time(1)
    end = End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=3, completion_tokens=4))
    world.ask(
        request(1, attempt=2, ended=end, delivered=(Delivered(text="whole", tokens=4, finish_reason="stop"),))
    )
    world.commit()
    assert [(one.outcome, one.completion_tokens) for one in world.ends] == [(Outcome.COMPLETED, 4)]


def test_dispatch_two_tenants_are_served_in_turn() -> None:
    """A tenant that sends many waits behind its own."""
    world = World()
    world.pass_time(1)
    world.ask(*(request(number, tenant="busy") for number in range(6)), request(100, tenant="quiet"))
    name = world.add_replica()
    assert ("r100", 1) in world.replicas[name]


def test_dispatch_deadline_passes_in_the_queue_ends_expired() -> None:
    """Nobody waits beyond the deadline."""
    world = World()
    world.ask(request(1, deadline_s=3))
    world.pass_time(4)
    world.commit()
    assert [end.outcome for end in world.ends] == [Outcome.EXPIRED]


def test_dispatch_own_stall_buries_nobody() -> None:
    """A dispatcher that stood still for seconds does not take its replicas for dead."""
    world = World()
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    world.now_s += 30
    world.act(world.dispatch.on_tick(world.now()))
    assert world.told == []
