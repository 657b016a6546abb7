"""Threads hand over to asyncio in order, bounded, and stop when nobody reads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from services.inference.engines.thread_stream import ThreadStream


async def test_thread_stream_from_two_threads_keeps_each_ones_order() -> None:
    """Nothing is lost or swapped, also when the stream fills up again and again."""
    stream: ThreadStream[tuple[str, int]] = ThreadStream(limit=3)
    with ThreadPoolExecutor(2) as threads:
        work = [
            threads.submit(lambda name=name: [stream.put((name, number)) for number in range(500)])
            for name in "ab"
        ]
        received: list[tuple[str, int]] = []
        async with asyncio.timeout(20):
            while len(received) < 1000:
                batch = await stream.read()
                assert 1 <= len(batch) <= 3
                received += batch
    assert all(all(future.result()) for future in work)
    for name in "ab":
        assert [number for sender, number in received if sender == name] == list(range(500))


async def test_thread_stream_left_by_its_reader_refuses_more() -> None:
    """A thread that waits for room, and one that comes later, learn that nobody reads."""
    stream: ThreadStream[int] = ThreadStream(limit=1)
    with ThreadPoolExecutor(1) as threads:
        work = threads.submit(lambda: [stream.put(number) for number in range(3)])
        await stream.read()
        stream.leave()
        assert (await asyncio.wrap_future(work))[-1] is False
    assert stream.put(4) is False


def test_thread_stream_whose_loop_is_gone_refuses_more() -> None:
    """A closed loop is a reader that left."""

    async def make() -> ThreadStream[int]:
        stream: ThreadStream[int] = ThreadStream(limit=1)
        assert stream.put(1)
        return stream

    with asyncio.Runner() as runner:
        stream = runner.run(make())
    assert stream.put(2) is False
