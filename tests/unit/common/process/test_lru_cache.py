"""What is forgotten first."""

from services.common.process.lru_cache import LruCache


def test_cache_forgets_what_was_not_asked_for_longest() -> None:
    """Asking for a value, and putting it again, keep it."""
    cache: LruCache[str, int] = LruCache(3)
    for number, key in enumerate("abc"):
        cache.put(key, number)
    assert cache.get("a") == 0
    cache.put("b", 7)
    cache.put("d", 3)
    assert [cache.get(key) for key in "abcd"] == [0, 7, None, 3]
    assert len(cache) == 3


def test_cache_tells_values_that_are_false() -> None:
    """They are not taken for forgotten ones."""
    cache: LruCache[str, str] = LruCache(2)
    cache.put("a", "")
    cache.put("b", "x")
    assert cache.get("a") == ""
    cache.put("c", "y")
    assert cache.get("b") is None
    assert cache.get("a") == ""
