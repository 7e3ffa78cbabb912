"""`RateLimiter`: its decisions against an oracle of another kind, and its ways through loops, threads, cancellation and forks."""

from __future__ import annotations

import _thread
import asyncio
import datetime as dt
import gc
import itertools
import threading

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from edgequake_llm import (
    ClosedError,
    ConfigurationError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    RateLimiter,
    RateLimiterConfig,
    RateLimitTimeout,
)
from edgequake_llm._core import LimiterState
from support.processes import run
from support.waiting import aeventually, eventually

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def limiter(**limits):
    return RateLimiter(RateLimiterConfig(**limits))


def idle(one):
    """Whether nobody runs and nobody waits."""
    return (one.status.running, one.status.waiting, one.status.waiting_tokens) == (0, 0, 0)


# ---- The decisions, with a clock of the test's own ----


class Curve:
    """An allowance as a bound on every span of time, whole numbers only.

    What is let in from any moment s up to now is at most burst + rate x (now - s). That is the promise itself, and says
    nothing of buckets, levels or refunds; a call counts with what it used, from when it was let in.
    """

    def __init__(self, per_minute, burst):
        self.per_minute, self.burst = per_minute, burst
        self.taken = []  # [when, how much], in order

    def fits(self, amount, now):
        if self.per_minute is None:
            return True
        total, room = amount, self.burst
        if total > room:
            return False
        for when, used in reversed(self.taken):
            total += used
            if total * MINUTE > self.burst * MINUTE + self.per_minute * (now - when):
                return False
        return True

    def holds(self):
        """Whether the promise was kept in every minute, told the plain way: by adding up."""
        if self.per_minute is None:
            return True
        return all(
            sum(used for when, used in self.taken if start <= when <= start + MINUTE) <= self.per_minute + self.burst
            for start, _ in self.taken
        )


class World:
    """Drives a `LimiterState` as a timer would, and holds it to the curves."""

    def __init__(self, config):
        self.config = config
        self.state = LimiterState(config)
        self.now = 0
        self.next = None
        self.queue = []  # (call, tokens, since)
        self.running = {}  # call: (tokens, its entry in each curve)
        rpm, tpm = config.requests_per_minute, config.tokens_per_minute
        self.requests = Curve(rpm, config.burst or max(1, (rpm or 0) // 6))
        self.tokens = Curve(tpm, config.token_burst or tpm)
        self.paused_until = 0

    def let_in(self, call, tokens):
        assert self.now >= self.paused_until
        assert self.requests.fits(1, self.now)
        assert self.tokens.fits(tokens, self.now)
        entries = [self.now, 1], [self.now, tokens]
        self.requests.taken.append(entries[0])
        self.tokens.taken.append(entries[1])
        self.running[call] = (tokens, *entries)
        assert self.config.max_concurrent is None or len(self.running) <= self.config.max_concurrent

    def acquire(self, tokens):
        call, answer = self.state.acquire(self.now, tokens)
        if answer == "granted":
            assert not self.queue, "passed those who wait"
            self.let_in(call, tokens)
        elif answer == "queued":
            self.queue.append((call, tokens, self.now))
        elif answer == "too_large":
            assert self.tokens.per_minute is not None
            assert tokens > self.tokens.burst
        else:
            assert self.config.max_wait is not None

    def end(self, call, how, used):
        tokens, request, entry = self.running.pop(call)
        if how == "release":
            self.state.release(self.now, call)
        elif how == "refund":
            request[1] = entry[1] = 0
            self.state.refund(self.now, call)
        else:
            self.state.settle(self.now, call, used)
            entry[1] = min(used, tokens)
            if used > tokens:
                # A debt that nobody could foresee, from now on.
                self.tokens.taken.append([self.now, used - tokens])

    def poll(self):
        over, self.next = self.state.poll(self.now)
        for call, granted in over:
            head, tokens, since = self.queue.pop(0)
            assert call == head, "first come, first served"
            if granted:
                self.let_in(call, tokens)
            else:
                assert self.now - since >= round(self.config.max_wait * SECOND)
        if not self.queue:
            assert self.next is None
            return
        _, tokens, _ = self.queue[0]
        slots = self.config.max_concurrent
        if (slots is None or len(self.running) < slots) and self.now >= self.paused_until:

            def fits(when):
                return self.requests.fits(1, when) and self.tokens.fits(tokens, when)

            assert not fits(self.now), "waits although there is room"
            if self.config.max_wait is None:
                assert fits(self.next), "wakes too early"
                assert not fits(self.next - 1), "wakes too late"

    def pass_time(self, nanoseconds):
        until = self.now + nanoseconds
        while self.next is not None and self.next <= until:
            self.now = self.next
            self.poll()
        self.now = until
        self.poll()


_configs = st.builds(
    RateLimiterConfig,
    max_concurrent=st.none() | st.integers(1, 5),
    requests_per_minute=st.none() | st.integers(1, 90),
    tokens_per_minute=st.none() | st.integers(1, 600),
    burst=st.none() | st.integers(1, 20),
    token_burst=st.none() | st.integers(1, 200),
    max_wait=st.none() | st.sampled_from([0.5, 20.0]),
)
_steps = st.lists(
    st.tuples(st.just("acquire"), st.integers(0, 60) | st.integers(0, 400))
    | st.tuples(st.just("cancel"), st.integers(0, 100))
    | st.tuples(st.sampled_from(["release", "refund", "settle"]), st.integers(0, 100), st.integers(0, 120))
    | st.tuples(st.just("time"), st.integers(0, 3 * SECOND) | st.integers(0, 70).map(lambda s: s * SECOND))
    | st.tuples(st.just("pause"), st.integers(0, 20 * SECOND)),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(config=_configs, steps=_steps, over_use=st.booleans())
def test_every_minute_keeps_to_allowance_and_burst_whatever_comes(config, steps, over_use):
    world = World(config)
    for step, *numbers in steps:
        match step:
            case "acquire":
                world.acquire(*numbers)
            case "cancel" if world.queue:
                call, _, _ = world.queue.pop(numbers[0] % len(world.queue))
                assert world.state.cancel(call)
                assert not world.state.cancel(call)
            case "release" | "refund" | "settle" if world.running:
                calls = list(world.running)
                call = calls[numbers[0] % len(calls)]
                used = numbers[1] if over_use else min(numbers[1], world.running[call][0])
                world.end(call, step, used)
            case "time":
                world.pass_time(*numbers)
            case "pause":
                world.paused_until = max(world.paused_until, world.now + numbers[0])
                world.state.pause_until(world.now + numbers[0])
            case _:
                continue
        world.poll()
    # Nobody is left waiting for ever.
    for _ in range(10_000):
        if not world.queue:
            break
        if world.running:
            world.end(next(iter(world.running)), "refund", 0)
            world.poll()
        else:
            assert world.next is not None, "somebody waits, nobody runs, and no time is set"
            world.pass_time(world.next - world.now)
    assert not world.queue
    assert world.requests.holds()
    if not over_use:
        assert world.tokens.holds()


def test_a_call_that_is_not_there_is_a_key_error():
    state = LimiterState(RateLimiterConfig(max_concurrent=1))
    for end in (lambda: state.release(0, 7), lambda: state.refund(0, 7), lambda: state.settle(0, 7, 1)):
        with pytest.raises(KeyError):
            end()


# ---- Set-up ----


@pytest.mark.parametrize(
    "field", ["max_concurrent", "requests_per_minute", "tokens_per_minute", "burst", "token_burst"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10", 2**32])
def test_limits_that_are_none_are_refused_by_name(field, value):
    with pytest.raises(ConfigurationError, match=field):
        limiter(**{field: value})


@pytest.mark.parametrize("value", [0, -1, float("nan"), "1"])
def test_max_wait_is_a_time(value):
    with pytest.raises(InvalidRequestError, match="max_wait"):
        limiter(max_wait=value)
    assert limiter(max_wait=dt.timedelta(seconds=2)).config.max_wait.total_seconds() == 2


@pytest.mark.parametrize("tokens", [-1, 1.5, "1", None, True, 2**64])
def test_tokens_are_a_whole_number(tokens):
    one = limiter()
    for call in (one.acquire, one.try_acquire, one.sync.acquire):
        with pytest.raises(InvalidRequestError, match="tokens must be a whole number"):
            call(tokens=tokens)


def test_presets_are_found_by_any_spelling_and_listed_when_not():
    config = RateLimiterConfig.preset("openai", "Tier 1")
    assert config == RateLimiterConfig(requests_per_minute=500, tokens_per_minute=200_000)
    assert RateLimiterConfig.preset("ollama", "none") == RateLimiterConfig()
    assert config.replace(max_concurrent=10).max_concurrent == 10
    with pytest.raises(ConfigurationError, match=r"anthropic: tier-1, .*gemini: free") as caught:
        RateLimiterConfig.preset("openai", "platinum")
    assert "'platinum'" in str(caught.value)


def test_it_shows_what_it_does():
    one = limiter(max_concurrent=2, requests_per_minute=1, burst=100, tokens_per_minute=1, token_burst=1000)
    permit = one.try_acquire(tokens=400)
    assert (one.status.running, one.status.requests_left, one.status.tokens_left) == (1, 99, 600)
    assert repr(one).startswith("<RateLimiter running=1 waiting=0 RateLimiterConfig(max_concurrent=2")
    assert repr(permit) == "<Permit held tokens=400>"
    assert repr(one.sync.acquire(3)) == "<SyncPermit new tokens=3>"
    assert repr(one.status).startswith("RateLimiterStatus(running=1, waiting=0, waiting_tokens=0, requests_left=99,")
    assert one.config.max_concurrent == 2


# ---- Permits ----


def test_an_uncontended_acquire_does_not_suspend():
    one = limiter(max_concurrent=1, requests_per_minute=60, tokens_per_minute=100)

    async def use():
        async with one.acquire(tokens=10) as permit:
            return permit.tokens, one.status.running

    # No event loop runs here: a future would have none to belong to.
    with pytest.raises(StopIteration) as caught:
        use().send(None)
    assert caught.value.value == (10, 1)
    assert idle(one)


def test_an_uncontended_acquire_starts_no_thread():
    run("""
        import os
        from edgequake_llm import RateLimiter, RateLimiterConfig

        async def use(limiter):
            async with limiter.acquire(tokens=10):
                pass

        limiter = RateLimiter(RateLimiterConfig(max_concurrent=1, tokens_per_minute=1000))
        for _ in range(10):
            try:
                use(limiter).send(None)
            except StopIteration:
                pass
            with limiter.sync.acquire(tokens=10):
                pass
        if os.path.isdir("/proc/self/task"):
            assert len(os.listdir("/proc/self/task")) == 1
    """)


async def test_a_permit_settles_refunds_and_releases_once():
    one = limiter(requests_per_minute=1, burst=10, tokens_per_minute=1, token_burst=1000)
    async with one.acquire(tokens=300) as permit:
        permit.settle(100)
        with pytest.raises(ClosedError, match="over already"):
            permit.settle(1)
    assert (one.status.tokens_left, one.status.requests_left) == (900, 9)
    permit = await one.acquire(tokens=300)
    permit.refund()
    assert (one.status.tokens_left, one.status.requests_left) == (900, 9)
    permit = await one.acquire(tokens=300)
    permit.release()
    permit.release()
    assert one.status.tokens_left == 600
    async with one.acquire(tokens=100) as permit:
        permit.settle(900)
    assert one.status.tokens_left == 0, "what was used beyond is a debt"
    with pytest.raises(ClosedError, match="not entered yet"):
        one.acquire().settle(1)


async def test_a_permit_is_good_for_one_call():
    one = limiter()
    permit = one.acquire()
    async with permit:
        with pytest.raises(RuntimeError, match="used already"):
            await permit
    with pytest.raises(RuntimeError, match="used already"):
        async with permit:
            pass
    sync = one.sync.acquire()
    with sync, pytest.raises(RuntimeError, match="used already"):
        sync.__enter__()
    assert idle(one)


async def test_a_dropped_permit_comes_back():
    one = limiter(max_concurrent=1)
    permit = await one.acquire()
    assert one.status.running == 1
    del permit
    assert idle(one)


async def test_an_error_in_the_body_comes_through_and_ends_the_call():
    one = limiter(max_concurrent=1, tokens_per_minute=1, token_burst=1000)
    with pytest.raises(ZeroDivisionError):
        async with one.acquire(tokens=100):
            1 / 0  # noqa: B018
    with pytest.raises(ZeroDivisionError), one.sync.acquire(tokens=100):
        1 / 0  # noqa: B018
    assert idle(one)
    assert one.status.tokens_left == 800, "they may have been used"


async def test_try_acquire_takes_all_or_nothing():
    one = limiter(max_concurrent=1, tokens_per_minute=1000)
    first = one.try_acquire(tokens=1000)
    assert one.try_acquire() is None
    first.refund()
    assert one.try_acquire(tokens=1000) is not None


async def test_a_request_above_the_bucket_is_refused_at_once_and_takes_nothing():
    one = limiter(max_concurrent=1, tokens_per_minute=1000, token_burst=500)
    for call in (one.try_acquire, lambda tokens: one.sync.acquire(tokens).__enter__()):
        with pytest.raises(InvalidRequestError, match=r"501 tokens.*more than 500.*lower max_tokens.*token_burst"):
            call(501)
    with pytest.raises(InvalidRequestError):
        await one.acquire(tokens=501)
    assert idle(one)
    assert one.status.tokens_left == 500


async def test_max_wait_refuses_at_once_with_the_wait_it_needs():
    one = limiter(tokens_per_minute=1, token_burst=600, max_wait=5)
    (await one.acquire(tokens=600)).release()
    with pytest.raises(RateLimitTimeout) as caught:
        await one.acquire(tokens=100)
    error = caught.value
    assert isinstance(error, (TimeoutError, LLMTimeoutError, LLMError))
    assert 5900 < error.needed <= 6000
    assert error.needed == error.retry_after
    assert not error.retryable
    assert "raise max_wait" in str(error)
    assert idle(one)


async def test_max_wait_ends_a_wait_that_might_have_been_short():
    one = limiter(max_concurrent=1, max_wait=0.02)
    holder = await one.acquire()
    waiter = asyncio.create_task(_enter(one))
    with pytest.raises(RateLimitTimeout):
        await waiter
    with pytest.raises(RateLimitTimeout), one.sync.acquire():
        pass
    holder.release()
    assert idle(one)


async def _enter(one, tokens=0):
    async with one.acquire(tokens=tokens):
        pass


# ---- Waiting ----


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request):
    return asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop


def test_waiters_are_served_in_order_on_any_loop(new_loop):
    one = limiter(max_concurrent=3, requests_per_minute=60_000, burst=1000)
    order, running = [], 0

    async def call(n):
        nonlocal running
        async with one.acquire(tokens=n):
            running += 1
            assert running <= 3
            order.append(n)
            await asyncio.sleep(0)
            running -= 1

    async def main():
        await asyncio.gather(*map(call, range(200)))

    loop = new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert order == list(range(200))
    assert idle(one)


async def test_time_lets_waiters_in():
    one = limiter(requests_per_minute=6000, burst=1)
    await asyncio.gather(*(_enter(one) for _ in range(20)))
    assert idle(one)


async def test_a_large_request_at_the_head_is_not_passed():
    one = limiter(tokens_per_minute=1, token_burst=1000)
    hold = await one.acquire(tokens=600)
    large = asyncio.create_task(_enter(one, 900))
    await aeventually(lambda: one.status.waiting == 1)
    small = asyncio.create_task(_enter(one, 1))
    await aeventually(lambda: one.status.waiting == 2)
    assert one.status.waiting_tokens == 901
    assert one.try_acquire(tokens=1) is None
    hold.refund()
    await large
    small.cancel()


async def test_a_pause_holds_all_and_headers_are_heard():
    one = limiter(requests_per_minute=600)
    one.pause(30)
    one.pause(10)
    assert 29 < one.status.paused_for <= 30
    assert one.try_acquire() is None
    with pytest.raises(InvalidRequestError, match="duration"):
        one.pause(0)
    other = limiter(requests_per_minute=1, burst=100, tokens_per_minute=1, token_burst=10_000)
    other.learn(
        {"X-RateLimit-Remaining-Requests": "3", "x-ratelimit-reset-requests": "200s", "odd name\n": "x", "n": 3}
    )
    assert other.status.requests_left == 3
    other.learn({"anthropic-ratelimit-tokens-remaining": "50"})
    assert other.status.tokens_left == 50
    other.learn({})
    assert other.status.tokens_left == 50


async def test_cancelling_gives_back_at_every_point():
    one = limiter(max_concurrent=1, requests_per_minute=1, burst=10, tokens_per_minute=1, token_burst=1000)

    def free():
        return idle(one) and one.status.tokens_left == 1000 and one.status.requests_left == 10

    # Before it began.
    task = asyncio.create_task(_enter(one, 100))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert free()
    # In the queue: at the head, behind it.
    holder = await one.acquire(tokens=100)
    tasks = [asyncio.create_task(_enter(one, 100)) for _ in range(3)]
    await aeventually(lambda: one.status.waiting == 3)
    for task in (tasks[1], tasks[0], tasks[2]):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
    assert one.status.waiting == 0
    # Let in, but not told yet.
    task = asyncio.create_task(_enter(one, 100))
    await aeventually(lambda: one.status.waiting == 1)
    holder.refund()
    assert (one.status.waiting, one.status.running) == (0, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert free()
    # Let in in the same turn as another, which cancels it before it goes on.
    two = limiter(max_concurrent=2)
    holders = [await two.acquire() for _ in range(2)]
    task = asyncio.create_task(_cancel_when_in(two, lambda: second))
    second = asyncio.create_task(_enter(two))
    await aeventually(lambda: two.status.waiting == 2)
    for holder in holders:
        holder.release()
    await asyncio.gather(task, second, return_exceptions=True)
    assert second.cancelled()
    assert not task.cancelled()
    assert idle(two)


async def _cancel_when_in(one, other):
    async with one.acquire():
        other().cancel()


async def test_a_coroutine_that_is_closed_while_waiting_leaves_the_queue():
    one = limiter(max_concurrent=1)
    holder = await one.acquire()
    waiting = _enter(one)
    waiting.send(None)
    assert one.status.waiting == 1
    waiting.close()
    assert one.status.waiting == 0
    waiting = _enter(one)
    waiting.send(None)
    holder.release()
    assert one.status.running == 1, "let in, and nobody there to take it"
    waiting.close()
    assert idle(one)


async def test_time_outs_of_asyncio_leave_the_queue():
    one = limiter(max_concurrent=1)
    async with one.acquire():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_enter(one), 0.01)
        assert one.status.waiting == 0
    assert idle(one)


async def test_a_storm_of_cancellations_loses_nothing():
    one = limiter(max_concurrent=4)
    steps = itertools.cycle([0, 1, 2, 3, 5, 8])

    async def call():
        async with one.acquire():
            for _ in range(next(steps)):
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(call()) for _ in range(2000)]
    for n, task in enumerate(tasks):
        if n % 3 == 0:
            task.cancel()
        if n % 50 == 0:
            await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(result is None for result in results) >= 1300
    assert idle(one)


# ---- Loops and threads ----


def test_loops_in_threads_and_plain_threads_share_one_limiter(new_loop):
    one = limiter(max_concurrent=3)
    lock, running, most, done = threading.Lock(), 0, 0, 0

    def enter():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)

    def leave():
        nonlocal running, done
        with lock:
            running -= 1
            done += 1

    async def call():
        async with one.acquire(tokens=5):
            enter()
            await asyncio.sleep(0)
            leave()

    async def main():
        await asyncio.gather(*(call() for _ in range(100)))

    def in_a_loop():
        loop = new_loop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    def plain():
        for _ in range(100):
            with one.sync.acquire(tokens=5):
                enter()
                leave()

    threads = [threading.Thread(target=target) for target in (in_a_loop, in_a_loop, plain, plain)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (done, running) == (400, 0)
    assert most <= 3
    assert idle(one)


@pytest.mark.parametrize("told", [False, True], ids=["waiting", "let in and not told"])
@pytest.mark.parametrize("kept", [False, True], ids=["task dropped", "task kept"])
def test_a_closed_loop_loses_no_allowance(new_loop, told, kept):
    one = limiter(max_concurrent=1)
    holder = one.try_acquire()
    loop = new_loop()
    tasks = [loop.create_task(_enter(one)) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    eventually(lambda: one.status.waiting == 3)
    for task in tasks:
        task._log_destroy_pending = False
    if told:
        holder.release()
        assert one.status.running == 1
    loop.close()
    if not kept:
        del task, tasks
        gc.collect()
        assert one.status.waiting == 0
    if not told:
        holder.release()
    assert idle(one)
    with one.sync.acquire():
        pass
    if kept:
        # What is destroyed later does no harm.
        del task, tasks
        gc.collect()
        assert idle(one)


def test_ctrl_c_ends_a_wait_in_a_thread():
    one = limiter(max_concurrent=1)

    def interrupt():
        eventually(lambda: one.status.waiting == 1)
        _thread.interrupt_main()

    with one.sync.acquire():
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt), one.sync.acquire():
            pass
        thread.join()
    assert idle(one)


def test_a_waiting_thread_lets_python_run():
    one = limiter(max_concurrent=1)
    holder = one.try_acquire()
    entered = threading.Event()

    def wait():
        with one.sync.acquire():
            entered.set()

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: one.status.waiting == 1)
    assert not entered.is_set()
    holder.release()
    assert entered.wait(30)
    thread.join()
    assert idle(one)


def test_ten_thousand_waiters_are_served_in_order():
    one = limiter(max_concurrent=1)
    order = []

    async def call(n):
        async with one.acquire():
            order.append(n)

    async def main():
        holder = await one.acquire()
        tasks = [asyncio.create_task(call(n)) for n in range(10_000)]
        await aeventually(lambda: one.status.waiting == 10_000)
        holder.release()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == list(range(10_000))
    assert idle(one)


def test_a_forked_child_starts_anew_and_leaves_the_parent_alone():
    out = run(
        """
        import asyncio, os
        from edgequake_llm import RateLimiter, RateLimiterConfig

        limiter = RateLimiter(RateLimiterConfig(max_concurrent=1, tokens_per_minute=1000))

        async def enter():
            async with limiter.acquire(tokens=10):
                return "in"

        async def main():
            holder = await limiter.acquire(tokens=900)
            waiting = asyncio.create_task(enter())
            while not limiter.status.waiting:
                await asyncio.sleep(0.001)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    status = limiter.status
                    assert (status.running, status.waiting, status.tokens_left) == (0, 0, 1000), status
                    with limiter.sync.acquire(tokens=950):
                        holder.release()  # the parent's: does nothing here
                        assert limiter.status.running == 1
                        assert limiter.try_acquire() is None
                    waiting.get_coro().close()  # the parent's too
                    assert limiter.status.running == 0
                    # A wait with a timer of the child's own.
                    other = RateLimiter(RateLimiterConfig(requests_per_minute=6000, burst=1))
                    for _ in range(3):
                        with other.sync.acquire():
                            pass
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
            assert (limiter.status.running, limiter.status.waiting) == (1, 1)
            holder.release()
            print(await waiting)

        asyncio.run(main())
        """,
        env={"PYTHONWARNINGS": "ignore"},
    )
    assert out == "in\n"


def test_a_wait_that_was_forked_says_so():
    run(
        """
        import asyncio, os
        from edgequake_llm import ClosedError, RateLimiter, RateLimiterConfig

        limiter = RateLimiter(RateLimiterConfig(max_concurrent=1))

        async def enter():
            async with limiter.acquire():
                pass

        async def main():
            holder = await limiter.acquire()
            waiting = enter()
            waiting.send(None)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    waiting.send(None)
                except ClosedError as error:
                    code = 0 if "forked" in str(error) else 2
                finally:
                    os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
            waiting.close()

        asyncio.run(main())
        """,
        env={"PYTHONWARNINGS": "ignore"},
    )
