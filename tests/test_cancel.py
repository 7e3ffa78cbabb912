"""Taking a call back: the server sees it, an HTTP/2 connection lives on, an HTTP/1.1 connection closes."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from edgequake_llm import ClosedError, HTTPConfig, OpenAIProvider, Simulator
from support.raw import HOLD, RawServer, head, openai_delta, sse
from support.waiting import aeventually, eventually

PROTOCOLS = ("http1", "http2")


@pytest.fixture
def slow():
    """A simulator that begins its answers at once and does not end them."""
    with Simulator(record=True, tokens=100_000, gap=0.05) as simulator:
        yield simulator


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return request.param


def taken_back(sim, count=1):
    """Whether the server has seen so many requests being taken back and none is left in flight."""
    stats = sim.stats()
    return (stats.aborted, stats.in_flight) == (count, 0)


async def usable_after(sim, llm, protocol, connections_before=1):
    """Make one more call; over HTTP/2 it goes over the same connection, over HTTP/1.1 the old one was closed."""
    sim.push(gap=0, tokens=5)
    assert (await llm.complete("still there?")).content
    assert sim.stats().connections == connections_before + (protocol == "http1")
    if protocol == "http1":
        await aeventually(lambda: sim.stats().connections_open == 1)


async def test_a_cancelled_task_takes_its_call_back(slow, provider_name, protocol, own_pool):
    llm = slow.provider(provider_name, http=own_pool(protocol))
    task = asyncio.create_task(llm.complete("hi"))
    await aeventually(lambda: slow.stats().in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aeventually(lambda: taken_back(slow))
    await usable_after(slow, llm, protocol)


async def test_a_cancelled_reader_takes_its_stream_back(slow, provider_name, protocol, own_pool):
    llm = slow.provider(provider_name, http=own_pool(protocol))
    texts = []

    async def read():
        async for text in llm.stream("hi"):
            texts.append(text)

    task = asyncio.create_task(read())
    await aeventually(lambda: texts)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aeventually(lambda: taken_back(slow))
    await usable_after(slow, llm, protocol)


async def test_leaving_async_with_takes_the_stream_back(slow, provider_name, protocol, own_pool):
    llm = slow.provider(provider_name, http=own_pool(protocol))
    async with llm.stream("hi") as stream:
        async for _ in stream:
            break
    await aeventually(lambda: taken_back(slow))
    with pytest.raises(ClosedError, match="closed before its end"):
        stream.response  # noqa: B018
    await usable_after(slow, llm, protocol)


async def test_an_error_inside_async_with_takes_the_stream_back(slow, protocol, own_pool):
    llm = slow.provider(http=own_pool(protocol))
    with pytest.raises(LookupError):
        async with llm.stream("hi") as stream:
            await anext(stream)
            raise LookupError
    await aeventually(lambda: taken_back(slow))
    await usable_after(slow, llm, protocol)


async def test_a_dropped_stream_is_taken_back(slow, provider_name, protocol, own_pool):
    llm = slow.provider(provider_name, http=own_pool(protocol))
    stream = llm.stream("hi")
    await anext(stream)
    del stream
    gc.collect()
    await aeventually(lambda: taken_back(slow))
    await usable_after(slow, llm, protocol)


async def test_a_broken_off_loop_over_an_unnamed_stream_is_taken_back(slow):
    async for _ in slow.provider().stream("hi"):
        break
    gc.collect()
    await aeventually(lambda: taken_back(slow))


async def test_a_stream_that_nobody_reads_is_taken_back_when_dropped(slow):
    stream = slow.provider().stream("hi")
    await aeventually(lambda: slow.stats().in_flight == 1)
    del stream
    gc.collect()
    await aeventually(lambda: taken_back(slow))


async def test_closing_twice_and_after_the_end_does_nothing(slow):
    llm = slow.provider()
    stream = llm.stream("hi")
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    await aeventually(lambda: taken_back(slow))
    slow.push(gap=0, tokens=5)
    stream = llm.stream("hi")
    text = "".join([text async for text in stream])
    await stream.aclose()
    assert stream.response.content == text
    assert slow.stats().aborted == 1


async def test_a_double_cancel_leaks_nothing(slow, protocol, own_pool):
    llm = slow.provider(http=own_pool(protocol))
    for call in range(3):
        task = asyncio.create_task(llm.complete("hi"))
        await aeventually(lambda: slow.stats().in_flight == 1)
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        task.cancel()
        await aeventually(lambda: taken_back(slow, call + 1))  # noqa: B023 - polled before the next turn
    await usable_after(slow, llm, protocol, connections_before=3 if protocol == "http1" else 1)


async def test_cancelling_while_cancelling_a_stream(slow, protocol, own_pool):
    llm = slow.provider(http=own_pool(protocol))

    async def read():
        async with llm.stream("hi") as stream:
            try:
                async for _ in stream:
                    pass
            finally:
                # The second cancel comes while the first one is being dealt with.
                await asyncio.sleep(60)

    task = asyncio.create_task(read())
    await aeventually(lambda: slow.stats().events_sent > 0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aeventually(lambda: taken_back(slow))
    await usable_after(slow, llm, protocol)


async def test_wait_for_takes_a_call_back(slow, provider_name):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(slow.provider(provider_name).complete("hi"), 0.2)
    await aeventually(lambda: taken_back(slow))


async def test_wait_for_on_one_item_ends_the_stream_and_says_so(slow):
    slow.push(fault="stall", after_events=2)
    stream = slow.provider().stream("hi")
    await anext(stream)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(anext(stream), 0.2)
    await aeventually(lambda: taken_back(slow))
    # Not an end like any other: the text is not whole.
    with pytest.raises(ClosedError, match="cancelled"):
        await anext(stream)
    with pytest.raises(ClosedError):
        stream.response  # noqa: B018


async def test_gather_that_fails_takes_the_others_back(slow):
    llm = slow.provider(retry=0)
    slow.push(status=400, delay=0.2)

    async def call():
        await llm.complete("hi")

    tasks = [asyncio.create_task(call()) for _ in range(5)]
    await aeventually(lambda: slow.stats().in_flight == 5)
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    assert [type(task.exception()).__name__ for task in done] == ["InvalidRequestError"]
    await aeventually(lambda: taken_back(slow, 4))


async def test_cancelling_many_over_one_http2_connection(slow, own_pool):
    llm = slow.provider(http=own_pool("http2"))
    tasks = [asyncio.create_task(llm.complete("hi")) for _ in range(50)]
    await aeventually(lambda: slow.stats().in_flight == 50)
    for task in tasks[:-1]:
        task.cancel()
    await aeventually(lambda: slow.stats().aborted == 49)
    assert slow.stats().in_flight == 1
    assert not tasks[-1].done()
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await aeventually(lambda: taken_back(slow, 50))
    await usable_after(slow, llm, "http2")


async def test_cancelling_before_anything_was_sent(slow):
    llm = slow.provider()
    task = asyncio.create_task(llm.complete("hi"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.stats().requests == 0


async def test_cancelling_while_connecting(own_pool):
    # A server that takes connections and never shakes hands.
    with RawServer([HOLD]) as server:
        url = server.url.replace("http:", "https:")
        llm = OpenAIProvider("key", base_url=url, http=own_pool())
        task = asyncio.create_task(llm.complete("hi"))
        await aeventually(lambda: server.connections == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cancelling_the_wait_before_a_retry(sim):
    llm = sim.provider(retry=5)
    sim.push(status=429, retry_after=50)
    task = asyncio.create_task(llm.complete("hi"))
    await aeventually(lambda: sim.stats().completed == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sim.stats().requests == 1


async def test_cancelling_an_embed_takes_all_its_batches_back(own_pool):
    with Simulator(ttft=60, embedding_dims=2) as sim:
        llm = sim.provider(http=own_pool("http2"))
        task = asyncio.create_task(llm.embed(["text"] * 8000))
        await aeventually(lambda: sim.stats().in_flight == 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await aeventually(lambda: taken_back(sim, 4))


async def test_over_http1_the_raw_server_sees_the_close():
    with RawServer([head(), sse(openai_delta("one")), HOLD]) as server:
        stream = OpenAIProvider("key", base_url=server.url).stream("hi")
        assert await anext(stream) == "one"
        await stream.aclose()
        await aeventually(lambda: server.closed_by_client == 1)


async def test_closing_from_another_task_ends_the_reader(slow):
    stream = slow.provider().stream("hi")
    texts = []

    async def read():
        async for text in stream:
            texts.append(text)

    reader = asyncio.create_task(read())
    await aeventually(lambda: texts)
    await stream.aclose()
    await asyncio.wait_for(reader, 30)
    await aeventually(lambda: taken_back(slow))


async def test_closing_from_another_task_ends_the_wait_for_the_first_event():
    with Simulator(ttft=60) as sim:
        stream = sim.provider().stream("hi")

        async def first():
            await stream

        waiting = asyncio.create_task(first())
        await aeventually(lambda: sim.stats().in_flight == 1)
        await stream.aclose()
        await asyncio.wait_for(waiting, 30)
        await aeventually(lambda: taken_back(sim))


def test_closing_a_sync_stream(slow, provider_name, protocol, own_pool):
    llm = slow.provider(provider_name, http=own_pool(protocol))
    with llm.sync.stream("hi") as stream:
        next(stream)
    eventually(lambda: taken_back(slow))
    stream = llm.sync.stream("hi")
    next(stream)
    stream.close()
    eventually(lambda: taken_back(slow, 2))
    stream = llm.sync.stream("hi")
    next(stream)
    del stream
    gc.collect()
    eventually(lambda: taken_back(slow, 3))


def test_closing_a_sync_stream_from_another_thread_ends_the_reader(slow):
    stream = slow.provider().sync.stream("hi")
    texts = []
    reader = threading.Thread(target=lambda: texts.extend(stream))
    first = next(stream)
    reader.start()
    assert stream.metrics.output_tokens == 1, "can be looked at while another thread waits"
    stream.close()
    reader.join(30)
    assert not reader.is_alive()
    assert first
    eventually(lambda: taken_back(slow))


async def test_the_server_resets_one_stream_and_the_connection_lives_on(own_pool):
    with Simulator(record=True) as sim:
        llm = sim.provider(http=own_pool("http2"), retry=0)
        sim.push(fault="cut", after_events=2)
        with pytest.raises(ConnectionError):
            async for _ in llm.stream("hi"):
                pass
        await llm.complete("hi")
        assert sim.stats().connections == 1


def test_http2_settings_are_used(sim):
    assert sim.provider(http=HTTPConfig(protocol="http2")).sync.complete("hi").http_version == "HTTP/2"
