import threading

import pytest

from deepscan.cache import Cache, CacheFacts
from deepscan.errors import ConfigError


def test_what_was_put_is_got_and_counted():
    cache: Cache[str, int] = Cache(10)
    cache.put("a", 1, 4)
    assert (cache.get("a"), cache.get("b")) == (1, None)
    assert cache.facts() == CacheFacts(entries=1, bytes=4, max_bytes=10, hits=1, misses=1)


def test_the_least_recently_used_goes_first():
    cache: Cache[str, int] = Cache(10)
    for name in "abc":
        cache.put(name, ord(name), 3)
    cache.get("a")
    cache.put("d", 4, 3)
    assert [cache.get(name) is not None for name in "abcd"] == [True, False, True, True]
    assert cache.facts().bytes == 9


def test_one_large_value_may_cost_several_small_ones():
    cache: Cache[str, int] = Cache(10)
    for name in "abc":
        cache.put(name, 0, 3)
    cache.put("large", 1, 10)
    assert (cache.facts().entries, cache.facts().bytes, cache.get("large")) == (1, 10, 1)


def test_a_value_larger_than_the_cache_is_not_kept_and_costs_nothing():
    cache: Cache[str, int] = Cache(10)
    cache.put("a", 1, 5)
    cache.put("b", 2, 11)
    assert (cache.get("a"), cache.get("b")) == (1, None)


def test_a_value_is_replaced_and_its_bytes_are_counted_once():
    cache: Cache[str, int] = Cache(10)
    cache.put("a", 1, 6)
    cache.put("a", 2, 7)
    assert (cache.get("a"), cache.facts().bytes) == (2, 7)
    cache.put("a", 3, 11)
    assert (cache.get("a"), cache.facts().bytes) == (None, 0)


def test_a_cache_of_nothing_keeps_nothing():
    cache: Cache[str, int] = Cache(0)
    cache.put("a", 1, 1)
    assert (cache.get("a"), cache.facts().entries) == (None, 0)


def test_less_than_nothing_is_refused():
    with pytest.raises(ConfigError, match="-1 bytes"):
        Cache(-1)


def test_threads_may_share_it():
    cache: Cache[int, int] = Cache(100)

    def work(seed: int) -> None:
        for i in range(2000):
            cache.put((seed * 7 + i) % 50, i, 1 + i % 9)
            cache.get(i % 50)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    facts = cache.facts()
    assert facts.bytes <= 100
    assert facts.hits + facts.misses == 8000
