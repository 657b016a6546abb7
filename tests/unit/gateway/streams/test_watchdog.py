"""Silence, deadlines, leaving and coming back, on a clock that the test moves."""

from schemas.inference import ReplyChunk, StreamTaken
from services.gateway.streams.state import Phase
from tests.unit.gateway.streams.stage import DONE, Stage, beat, chunk, lost


def test_silence_of_a_running_request_is_written_into_the_log(stage: Stage) -> None:
    """Two seconds without a sign: the log is told, and only what comes back from it
    starts the next attempt.
    """
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0).model_copy(update={"ttft_ms": 12.5}))
    stage.pass_time(2)
    assert stage.publisher.told == []
    stage.pass_time(0.5)
    (silence,) = stage.publisher.told
    assert (silence.attempt, silence.reason, stage.publisher.asked) == (1, "silence", [])
    stage.hear(reply_stream, silence)
    (again,) = stage.publisher.asked
    assert (again.attempt, again.delivered[0].text, again.ttft_ms) == (2, "a", 12.5)
    stage.pass_time(10)
    assert len(stage.publisher.told) == 1


def test_beats_are_no_silence(stage: Stage) -> None:
    """A replica that computes without a word is alive."""
    reply_stream = stage.follow()
    for _ in range(10):
        stage.hear(reply_stream, beat())
        stage.pass_time(1)
    assert stage.publisher.told == []


def test_silence_while_the_bus_is_away_is_the_buss(stage: Stage) -> None:
    """While Kafka does not answer nothing is concluded; a replica gets its time again
    once it does.
    """
    reply_stream = stage.follow()
    stage.hear(reply_stream, beat())
    stage.bus_monitor.note_failure(TimeoutError())
    stage.pass_time(30)
    stage.bus_monitor.steady_since = stage.time_s
    stage.pass_time(2)
    assert stage.publisher.told == []


def test_request_that_waits_beyond_its_deadline_is_given_up(stage: Stage) -> None:
    """504 for the client, and the bus is told once the client was."""
    reply_stream = stage.follow()
    stage.pass_time(60)
    assert reply_stream.problem is None
    stage.pass_time(2)
    assert reply_stream.problem is not None
    assert reply_stream.problem.status == 504
    stage.registry.release(reply_stream, window_s=100)
    stage.tick()
    assert stage.publisher.cancelled == ["deadline_exceeded"]


def test_request_that_runs_has_no_deadline(stage: Stage) -> None:
    """The deadline is for the beginning."""
    reply_stream = stage.follow()
    for _ in range(100):
        stage.hear(reply_stream, beat())
        stage.pass_time(1)
    assert reply_stream.problem is None


async def test_client_that_leaves_with_a_window_is_waited_for(stage: Stage) -> None:
    """Within the window the request is followed and kept alive through a death; after
    it, cancelled.
    """
    reply_stream = stage.follow()
    stage.registry.release(reply_stream, window_s=5)
    stage.hear(reply_stream, lost())
    stage.pass_time(4)
    assert (len(stage.publisher.asked), stage.publisher.cancelled, stage.registry.followed) == (1, [], 1)
    stage.pass_time(2)
    assert (stage.publisher.cancelled, stage.registry.followed) == (["client_left"], 0)
    assert await reply_stream.take(0) == []


def test_stream_that_was_taken_over_is_not_cancelled(stage: Stage) -> None:
    """Neither a client that leaves after its successor came, nor a window that passes,
    ends the successor's stream.
    """
    first, second = stage.follow(), stage.follow()
    stage.registry.release(second, window_s=5)
    for reply_stream in (first, second):
        stage.hear(reply_stream, StreamTaken(request_id="r", gateway_id="other", follower_id="f"))
    stage.registry.release(first)
    stage.pass_time(10)
    assert (stage.publisher.cancelled, stage.registry.followed) == ([], 0)


def test_ended_request_is_remembered_for_a_lost_end(stage: Stage) -> None:
    """For some seconds after its end a request can still be told again; then it is
    forgotten.
    """
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0, end=DONE))
    stage.registry.release(reply_stream)
    stage.hear(reply_stream, lost())
    assert stage.publisher.asked[0].ended == DONE
    stage.pass_time(11)
    assert not stage.reader._reply_streams
    assert stage.publisher.cancelled == []


TAKEN = StreamTaken(request_id="r", gateway_id="other", follower_id="f")


def test_gateway_that_was_stopped_cancels_no_stream_that_was_taken_up_elsewhere(stage: Stage) -> None:
    """The client's closed connection is noticed before the replies are read that say
    where it went: nothing is taken back until they are.
    """
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0))
    stage.pass_time(1)
    stage.stand_still(20)
    stage.reading = False
    stage.registry.release(reply_stream)
    stage.pass_time(3)
    assert (stage.publisher.cancelled, stage.registry.followed) == ([], 1)
    stage.read_up((reply_stream, TAKEN))
    stage.tick()
    assert (stage.publisher.cancelled, stage.registry.followed) == ([], 0)


def test_client_that_left_meanwhile_and_came_back_nowhere_is_cancelled_once_all_is_read(stage: Stage) -> None:
    """Waiting for the replies is not for ever."""
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0))
    stage.stand_still(20)
    stage.reading = False
    stage.registry.release(reply_stream)
    stage.pass_time(1)
    stage.read_up((reply_stream, beat()))
    stage.tick()
    assert stage.publisher.cancelled == ["client_left"]


def test_window_that_passes_during_a_pause_is_judged_by_what_was_written_till_now(stage: Stage) -> None:
    """A client that came back after its window, while nobody looked, keeps its stream."""
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0))
    stage.registry.release(reply_stream, window_s=5)
    stage.pass_time(1)
    stage.stand_still(20)
    stage.reading = False
    stage.tick()
    stage.read_up((reply_stream, TAKEN))
    stage.tick()
    assert stage.publisher.cancelled == []


def test_gateway_that_was_stopped_takes_no_live_replica_for_a_silent_one(stage: Stage) -> None:
    """Eleven streams whose replicas went on: none is reported, neither before the beats
    are read nor, where machine and replicas stood still alike, before these had their
    time.
    """
    streams = [stage.follow() for _ in range(11)]
    for reply_stream in streams:
        stage.hear(reply_stream, chunk(0))
    stage.pass_time(0.5)
    stage.stand_still(20)
    stage.reading = False
    stage.pass_time(5)
    assert stage.publisher.told == []
    stage.read_up(*[(reply_stream, beat()) for reply_stream in streams])
    stage.tick()
    assert stage.publisher.told == []


def test_replicas_have_their_time_after_a_pause_then_silence_is_silence(stage: Stage) -> None:
    """One that died meanwhile is noticed two seconds after the gateway goes on."""
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0))
    stage.pass_time(0.5)
    stage.stand_still(20)
    stage.pass_time(2)
    assert stage.publisher.told == []
    stage.pass_time(1)
    assert [one.reason for one in stage.publisher.told] == ["silence"]


def test_reader_that_is_behind_is_no_silence_either(stage: Stage) -> None:
    """Without any pause: what lies unread in the log may be a beat."""
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0))
    stage.pass_time(1)
    stage.reading = False
    stage.pass_time(30)
    assert stage.publisher.told == []


def test_deadline_that_passes_during_a_pause_waits_for_what_is_unread(stage: Stage) -> None:
    """A replica that had begun in time is heard first; a bus that stays away does not
    keep the client for ever.
    """
    begun, waiting = stage.follow(), stage.follow()
    stage.pass_time(0.5)
    stage.stand_still(80)
    stage.reading = False
    stage.tick()
    assert (begun.problem, waiting.problem) == (None, None)
    stage.hear(begun, chunk(0))
    stage.pass_time(11)
    assert begun.problem is None
    assert waiting.problem is not None
    assert waiting.problem.status == 504


def test_retry_that_is_read_late_is_asked_for_only_if_nobody_did(stage: Stage) -> None:
    """Of two deaths that it slept through a gateway answers the one that is still
    unanswered.
    """
    answered, unanswered = stage.follow(), stage.follow()
    for reply_stream in (answered, unanswered):
        stage.hear(reply_stream, chunk(0))
    stage.pass_time(0.5)
    stage.stand_still(20)
    second = ReplyChunk(request_id="r", tenant="t", attempt=2, replica_id="y", seq=0)
    stage.read_up((answered, lost()), (unanswered, lost()), (answered, second))
    assert [one.attempt for one in stage.publisher.asked] == [2]
    assert (answered.state.phase, unanswered.state.phase) == (Phase.RUNNING, Phase.WAITING)


def test_gateway_that_stops_takes_back_whole_answers_and_leaves_streams(stage: Stage) -> None:
    """A stream can be taken up elsewhere, an answer in one piece cannot."""
    stream, whole = stage.follow(), stage.follow(stream=False)
    stage.registry.fail_all("stopping")
    for reply_stream in (stream, whole):
        stage.registry.release(reply_stream)
    stage.watchdog.close()
    assert stage.publisher.cancelled == ["gateway_stopping"]
