"""What a dispatcher remembers of the past, bounded in entries and in bytes."""

from schemas.inference import Delivered, End, Outcome
from services.inference.domain.dispatch.memory import EndMemory, Memory, text_bytes

DONE = End(outcome=Outcome.COMPLETED)


def test_memory_forgets_the_oldest_beyond_its_entries_or_bytes() -> None:
    """Whichever bound is met first; a key noted again counts once."""
    memory: Memory[str, str] = Memory(3, 100, len)
    for name in "abcd":
        memory.remember(name, "x" * 10)
    memory.remember("d", "x" * 20)
    assert ("a" in memory, len(memory), memory.size_bytes) == (False, 3, 40)
    memory.remember("e", "x" * 90)
    assert (memory.get("e"), memory.get("d"), len(memory)) == ("x" * 90, None, 1)
    assert (memory.pop("e"), memory.pop("e"), memory.size_bytes) == ("x" * 90, None, 0)


def test_end_memory_keeps_ends_longer_than_their_texts() -> None:
    """Large texts are let go; that the request ended is not."""
    memory = EndMemory()
    large = (Delivered(text="x" * 2**20),)
    for number in range(20):
        memory.remember(f"r{number}", DONE, large)
    assert memory.get("r0") == (DONE, ())
    assert memory.get("r19") == (DONE, large)
    assert text_bytes(large) >= 4 * 2**20
    assert memory.get("other") is None
