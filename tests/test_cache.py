"""`LLMCache` by itself: against a plain reference with a fake clock, and what the reference does not show."""

from __future__ import annotations

import gc
import os
import sys
import threading
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgequake_llm import CacheConfig, ConfigurationError, InvalidRequestError, LLMCache
from support.processes import run


class FakeClock:
    """Seconds that pass when the test says so. Eighths, so that sums of them are exact."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def overhead():
    """Return what an entry takes besides its value."""
    cache = LLMCache()
    cache.set("x", None, size=0)
    return cache.stats().bytes


KEYS = st.sampled_from(["a", "b", b"a", 1, 1.5, None, ("a", 1), ("a", ("b", 2)), "", ()])
EIGHTHS = st.integers(1, 60).map(lambda n: n / 8)
MISSING = object()


class Reference(RuleBasedStateMachine):
    """The cache beside a list in order of use, searched from end to end, that lets nothing dead stay for a moment."""

    @initialize(
        max_entries=st.integers(0, 8),
        max_bytes=st.none() | st.integers(1, 1500),
        ttl=st.none() | EIGHTHS,
        stale=st.just(0) | EIGHTHS,
        refresh=st.booleans(),
    )
    def make(self, max_entries, max_bytes, ttl, stale, refresh):
        self.config = CacheConfig(
            max_entries=max_entries, max_bytes=max_bytes, ttl=ttl, stale=stale, refresh_on_read=refresh
        )
        self.clock = FakeClock()
        self.cache = LLMCache(self.config, clock=self.clock)
        self.overhead = overhead()
        self.entries = []  # [key, value, bytes, ttl, stale_at, refreshing]
        self.hits = self.stale_hits = self.misses = self.evictions = self.expirations = 0
        self.next_value = 0

    def expire(self):
        living = [e for e in self.entries if e[4] is None or self.clock.now < e[4] + self.config.stale]
        self.expirations += len(self.entries) - len(living)
        self.entries = living

    def find(self, key):
        self.expire()
        return next((e for e in self.entries if e[0] == key), None)

    def use(self, key, *, told):
        """What a look-up finds: (state, value)."""
        entry = self.find(key)
        if entry is None:
            self.misses += 1
            return "miss", None
        self.entries.remove(entry)
        self.entries.append(entry)
        if entry[4] is not None and self.clock.now >= entry[4]:
            self.stale_hits += 1
            state = "hit" if entry[5] else "stale"
            entry[5] = told
            return state, entry[1]
        self.hits += 1
        if self.config.refresh_on_read and entry[3] is not None:
            entry[4] = self.clock.now + entry[3]
        return "hit", entry[1]

    @rule(step=st.sampled_from([0, 0, 0.125, 0.5, 1, 3, 10]))
    def wait(self, step):
        self.clock.now += step

    @rule(key=KEYS)
    def lookup(self, key):
        assert self.cache.lookup(key) == self.use(key, told=True)

    @rule(key=KEYS)
    def get(self, key):
        entry = self.find(key)
        refreshing = entry is not None and entry[5]
        state, value = self.use(key, told=refreshing)
        assert self.cache.get(key, MISSING) is (MISSING if state == "miss" else value)

    @rule(key=KEYS)
    def peek(self, key):
        entry = self.find(key)
        assert self.cache.peek(key, MISSING) is (MISSING if entry is None else entry[1])
        assert (key in self.cache) is (entry is not None)

    @rule(key=KEYS, size=st.integers(0, 300), ttl=st.sampled_from(["left out", None]) | EIGHTHS)
    def set(self, key, size, ttl):
        self.next_value += 1
        value = (self.next_value,)
        given = {} if ttl == "left out" else {"ttl": ttl}
        stored = self.cache.set(key, value, size=size, **given)
        entry = self.find(key)
        if entry is not None:
            self.entries.remove(entry)
        ttl = given.get("ttl", self.config.ttl)
        size += self.overhead
        fits = self.config.max_bytes is None or size <= self.config.max_bytes
        assert stored is (self.config.max_entries > 0 and fits)
        if not stored:
            return
        self.entries.append([key, value, size, ttl, None if ttl is None else self.clock.now + ttl, False])
        while len(self.entries) > self.config.max_entries or not self.within_bytes():
            self.entries.pop(0)
            self.evictions += 1

    def within_bytes(self):
        return self.config.max_bytes is None or sum(e[2] for e in self.entries) <= self.config.max_bytes

    @rule(key=KEYS)
    def delete(self, key):
        entry = self.find(key)
        assert self.cache.delete(key) is (entry is not None)
        if entry is not None:
            self.entries.remove(entry)

    @rule(key=KEYS)
    def refresh_failed(self, key):
        self.cache.refresh_failed(key)
        for entry in self.entries:
            if entry[0] == key:
                entry[5] = False

    @rule()
    def purge(self):
        self.cache.purge()
        self.expire()
        stats = self.cache.stats()
        assert (len(self.cache), stats.entries) == (len(self.entries), len(self.entries))
        assert stats.bytes == sum(e[2] for e in self.entries)
        assert (stats.hits, stats.stale_hits, stats.misses) == (self.hits, self.stale_hits, self.misses)
        assert (stats.evictions, stats.expirations) == (self.evictions, self.expirations)

    @rule()
    def clear(self):
        self.purge()
        self.cache.clear()
        self.entries = []

    @invariant()
    def keeps_within_its_limits(self):
        if hasattr(self, "cache"):
            stats = self.cache.stats()
            assert stats.entries <= self.config.max_entries
            assert self.config.max_bytes is None or stats.bytes <= self.config.max_bytes

    def teardown(self):
        if hasattr(self, "cache"):
            self.purge()
            for entry in self.entries:
                assert self.cache.peek(entry[0]) is entry[1]


TestReference = Reference.TestCase
TestReference.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# ---- Keys ----


def test_keys_are_one_where_python_says_so():
    cache = LLMCache()
    for same in [(1, 1.0, True), (0, -0.0, False), ((1, "a"), (1.0, "a")), (2**100, float(2**100))]:
        cache.clear()
        for key in same:
            cache.set(key, "value")
        assert len(cache) == 1
        assert all(cache.get(key) == "value" for key in same)


def test_keys_are_told_apart():
    cache = LLMCache()
    keys = [
        *("a", b"a", "1", 1, 1.5, None, "None", (), ("a",), ("a", "b"), ("ab",), (("a",), "b"), ("a", ("b",)), "", b""),
        *("a\0b", ("a\0b",), -1, 2**64, -(2**64), float("inf"), "\ud800", b"\xed\xa0\x80", 1e300, (b"a",)),
    ]
    for n, key in enumerate(keys):
        cache.set(key, n)
    assert [cache.get(key) for key in keys] == list(range(len(keys)))


@pytest.mark.parametrize("key", [[], {}, object(), 2**127, ("a", [])])
def test_a_key_that_may_change_is_refused(key):
    with pytest.raises(InvalidRequestError, match="cache key"):
        LLMCache().set(key, 1)


def test_a_key_that_holds_itself_is_refused():
    key = ()
    for _ in range(10_000):
        key = (key,)
    with pytest.raises(InvalidRequestError):
        LLMCache().get(key)


# ---- Settings ----


def test_the_defaults():
    config = LLMCache().config
    assert (config.max_entries, config.ttl, config.max_bytes, config.stale) == (1000, 3600, None, 0)
    assert config.cache_completions
    assert config.cache_embeddings
    assert not config.cache_nonzero_temperature
    assert not config.refresh_on_read


@pytest.mark.parametrize(
    "wrong",
    [
        *({"max_entries": -1}, {"max_entries": None}, {"max_entries": 1.5}, {"max_entries": True}, {"max_bytes": 0}),
        *({"ttl": 0}, {"ttl": -1}, {"ttl": float("nan")}, {"ttl": "1"}, {"stale": -1}, {"cache_embeddings": 1}),
    ],
)
def test_bad_settings_are_named(wrong):
    name = next(iter(wrong))
    with pytest.raises((ConfigurationError, InvalidRequestError), match=name):
        LLMCache(CacheConfig(**wrong))


def test_something_else_than_a_config():
    with pytest.raises(ConfigurationError, match="CacheConfig"):
        LLMCache({"max_entries": 3})


def test_lifetimes_are_seconds_or_timedeltas():
    clock = FakeClock()
    cache = LLMCache(CacheConfig(ttl=timedelta(minutes=1), stale=timedelta(seconds=5)), clock=clock)
    cache.set("a", 1)
    cache.set("b", 2, ttl=timedelta(hours=1))
    cache.set("c", 3, ttl=None)
    for wrong in (0, -1, "1"):
        with pytest.raises(InvalidRequestError, match="ttl"):
            cache.set("d", 4, ttl=wrong)
    clock.now += 64
    assert [cache.lookup(key)[0] for key in "abcd"] == ["stale", "hit", "hit", "miss"]
    clock.now += 1
    assert [cache.get(key) for key in "abc"] == [None, 2, 3]


def test_the_clock_never_goes_back():
    clock = FakeClock()
    cache = LLMCache(CacheConfig(ttl=10), clock=clock)
    clock.now += 100
    cache.set("a", 1)
    clock.now -= 50
    cache.set("b", 2)
    clock.now += 59
    assert cache.get("b") == 2
    clock.now += 1
    assert cache.get("b") is None


def test_a_clock_that_fails_says_so():
    clock = FakeClock()
    cache = LLMCache(clock=clock)
    clock.now = "noon"
    with pytest.raises(TypeError):
        cache.get("a")


# ---- Values ----


def test_values_are_kept_by_reference_and_let_go():
    class Thing:
        pass

    cache, thing = LLMCache(CacheConfig(max_entries=2)), Thing()
    before = sys.getrefcount(thing)
    cache.set("a", thing)
    assert cache.get("a") is thing
    assert sys.getrefcount(thing) == before + 1
    cache.set("b", 1)
    cache.set("c", 2)
    assert sys.getrefcount(thing) == before
    cache.set("d", thing)
    cache.delete("d")
    cache.set("d", thing)
    cache.set("d", 3)
    assert sys.getrefcount(thing) == before, "another value in its place"
    cache.set("d", thing)
    del cache
    gc.collect()
    assert sys.getrefcount(thing) == before


def test_a_value_may_use_the_cache_while_it_dies():
    cache = LLMCache(CacheConfig(max_entries=2))
    seen = []

    class Meddler:
        def __del__(self):
            cache.set("meddled", 1)
            seen.append(cache.get("meddled"))

    for key in "abcdef":
        cache.set(key, Meddler())  # evicts
    cache.set("f", Meddler())
    cache.set("f", Meddler())  # replaces
    cache.delete("f")
    cache.set("g", Meddler())
    cache.clear()
    assert seen == [1] * 9


def test_sizes_are_counted():
    cache = LLMCache(CacheConfig(max_bytes=100_000))
    assert not cache.set("a", b"x" * 100_001)
    assert cache.set("a", b"x" * 50_000)
    assert 50_000 < cache.stats().bytes < 51_000
    assert cache.set("b", "y" * 60_000)
    assert cache.get("a") is None
    assert cache.set("c", [0] * 1000)
    assert 68_000 < cache.stats().bytes < 69_000
    cache.set("c", None, size=5)
    assert cache.stats().bytes < 61_000


def test_statistics_show():
    cache = LLMCache()
    assert cache.stats().hit_rate == 0
    cache.set("a", 1)
    for key in "aaab":
        cache.get(key)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.hit_rate) == (3, 1, 0.75)
    assert "hits=3" in repr(stats)
    assert "hits=3" in repr(cache)
    cache.clear()
    assert cache.stats().hits == 3


# ---- Threads and processes ----


def test_threads_share_it():
    cache = LLMCache(CacheConfig(max_entries=50))
    failures = []

    def work(seed):
        try:
            for n in range(3000):
                key = (n * 7 + seed) % 100
                value = cache.get(key)
                assert value is None or value == [key]
                cache.set(key, [key])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    stats = cache.stats()
    assert (stats.entries, stats.hits + stats.misses) == (50, 12_000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_copy():
    out = run("""
        import os
        from edgequake_llm import LLMCache
        cache = LLMCache()
        cache.set("a", 1)
        pid = os.fork()
        if pid == 0:
            assert cache.get("a") == 1
            cache.set("a", 2)
            cache.delete("b")
            os._exit(7 if cache.get("a") == 2 else 1)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), cache.get("a"))
    """)
    assert out == "7 1\n"
