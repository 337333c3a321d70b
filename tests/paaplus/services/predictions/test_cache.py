"""The cache never exceeds its bound, and drops the least recently used entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paaplus.services.predictions.cache import SizedCache


def test_least_recently_used_goes_first() -> None:
    cache: SizedCache[str, int] = SizedCache(30)
    for key in "abc":
        cache.put(key, ord(key), 10)
    cache.get_many("a")  # now b is the oldest
    cache.put("d", 0, 10)
    assert cache.get_many("abcd") == {"a": 97, "c": 99, "d": 0}


def test_entry_larger_than_the_cache_is_not_kept() -> None:
    cache: SizedCache[str, int] = SizedCache(30)
    cache.put("a", 1, 10)
    cache.put("big", 2, 31)
    assert cache.get_many(["big"]) == {}
    assert cache.size_bytes == 0


def test_replacing_an_entry_counts_it_once() -> None:
    cache: SizedCache[str, int] = SizedCache(30)
    cache.put("a", 1, 20)
    cache.put("a", 2, 25)
    assert (cache.get_many("a"), cache.size_bytes, len(cache)) == ({"a": 2}, 25, 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60))
def test_size_is_the_sum_of_what_is_kept_and_within_bounds(puts: list[tuple[int, int]]) -> None:
    cache: SizedCache[int, int] = SizedCache(100)
    for key, size_bytes in puts:
        cache.put(key, size_bytes, size_bytes)
        assert cache.size_bytes <= 100
    assert cache.size_bytes == sum(cache.get_many(range(10)).values())
