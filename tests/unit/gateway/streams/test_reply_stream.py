"""One stream: its history, its client's lag, its next attempt."""

from schemas.inference import ReplyChunk, StreamTaken
from services.gateway.streams.state import Phase
from tests.unit.gateway.streams.stage import Stage, chunk, lost


def test_own_taking_over_is_not_anothers(stage: Stage) -> None:
    """A reply stream that took over is cancelled with its client; only a later one
    takes it from it.
    """
    reply_stream = stage.follow(replaying=True)
    reply_stream.take_over("mine")
    reply_stream.go_live([(1, StreamTaken(request_id="r", gateway_id="g", follower_id="older"))], 0)
    assert reply_stream.taken
    reply_stream.hear(2, StreamTaken(request_id="r", gateway_id="g", follower_id="mine"), 0, size_bytes=500)
    assert not reply_stream.taken


async def test_replaying_follower_asks_for_nothing_until_it_is_live(stage: Stage) -> None:
    """What history already led to is not asked for again, unless nobody was seen to
    begin it; early live records wait and repeats are dropped.
    """
    reply_stream = stage.follow(replaying=True)
    reply_stream.hear(3, lost(), 0, size_bytes=500)
    history = [(1, chunk(0)), (2, chunk(1, "b")), (3, lost())]
    reply_stream.go_live(history, 0)
    assert [one.attempt for one in stage.publisher.asked] == [2]
    assert [arrival.offset for arrival in await reply_stream.take(0)] == [1, 2]
    begun = stage.follow(replaying=True)
    second = ReplyChunk(request_id="r", tenant="t", attempt=2, replica_id="y", seq=0)
    begun.go_live([*history, (4, second)], 0)
    assert len(stage.publisher.asked) == 1
    assert begun.state.phase is Phase.RUNNING


async def test_client_that_reads_too_slowly_is_cut(stage: Stage) -> None:
    """What a client has not read is bounded; beyond that its stream ends with a reason."""
    reply_stream = stage.follow()
    for seq in range(20):
        stage.hear(reply_stream, chunk(seq))
    assert reply_stream.problem is not None
    assert reply_stream.problem.code == "client_too_slow"
    assert len(await reply_stream.take(0)) == 16


async def test_one_large_record_counts_by_its_bytes(stage: Stage) -> None:
    """Few records can be as much as many."""
    reply_stream = stage.follow()
    reply_stream.hear(1, chunk(0), 0, size_bytes=20_000)
    assert reply_stream.problem is None
    reply_stream.hear(2, chunk(1), 0, size_bytes=20_000)
    assert reply_stream.problem is not None
    assert reply_stream.problem.code == "client_too_slow"


async def test_client_that_reads_on_has_all_its_room_again(stage: Stage) -> None:
    """Only what was not read counts."""
    reply_stream = stage.follow()
    for seq in range(64):
        stage.hear(reply_stream, chunk(seq))
        if seq % 16 == 15:
            assert len(await reply_stream.take(0)) == 16
    assert reply_stream.problem is None


async def test_history_is_no_lag(stage: Stage) -> None:
    """A stream of any length can be taken up again: what happened before the client
    came does not count, what comes while it does not read does.
    """
    reply_stream = stage.follow(replaying=True)
    reply_stream.go_live([(seq + 1, chunk(seq)) for seq in range(100)], 0)
    stage.offset = 100
    assert reply_stream.problem is None
    assert len(await reply_stream.take(0)) == 100
    for seq in range(100, 120):
        stage.hear(reply_stream, chunk(seq))
    assert reply_stream.problem is not None


async def test_what_comes_before_the_history_is_bounded(stage: Stage) -> None:
    """A history that takes too long to read ends in a 503, not in memory."""
    reply_stream = stage.follow(replaying=True)
    for seq in range(20):
        stage.hear(reply_stream, chunk(seq))
    assert reply_stream.problem is not None
    assert reply_stream.problem.status == 503
