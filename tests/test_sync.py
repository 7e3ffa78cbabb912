"""The twins for code without an event loop: the same answers, waiting without the interpreter's lock."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgequake_llm import ClosedError, InvalidRequestError, LLMError, OpenAIProvider, Simulator
from support.processes import run
from support.raw import RawServer, answer, openai_answer
from support.waiting import eventually


def test_the_same_answers_as_with_asyncio(llm):
    async def calls():
        stream = llm.stream("hi")
        texts = [text async for text in stream]
        return await llm.complete("hi"), await llm.chat([{"role": "user", "content": "hi"}]), texts, stream.response

    complete, chat, texts, response = asyncio.run(calls())
    assert llm.sync.complete("hi").content == complete.content
    assert llm.sync.chat([{"role": "user", "content": "hi"}]).usage == chat.usage
    with llm.sync.stream("hi") as stream:
        assert list(stream) == texts
    assert stream.response.content == response.content
    assert stream.response.usage == response.usage
    assert stream.metrics.output_tokens == response.usage.completion_tokens
    assert stream.metrics.ttft_ms > 0


def test_typed_events(llm):
    stream = llm.sync.stream("hi")
    events = list(stream.events())
    texts = [event.text for event in events if type(event).__name__ == "TextDelta"]
    assert "".join(texts) == stream.response.content
    assert [type(event).__name__ for event in events].count("FinishEvent") == 1


def test_embeddings(sim):
    for name in ("openai", "gemini", "ollama"):
        llm = sim.provider(name)
        assert llm.sync.embed(["a", "b"]).tolist() == asyncio.run(llm.embed(["a", "b"])).tolist()


def test_errors(sim, provider_name):
    llm = sim.provider(provider_name, retry=0)
    for use in (lambda: llm.sync.complete("hi"), lambda: list(llm.sync.stream("hi"))):
        sim.push(status=401)
        with pytest.raises(LLMError) as caught:
            use()
        assert (caught.value.status, caught.value.provider) == (401, provider_name)
    with pytest.raises(InvalidRequestError):
        llm.sync.complete("")
    with pytest.raises(InvalidRequestError):
        llm.sync.stream("")


def test_waiting_releases_the_lock():
    # The server is Python in this process: it could not answer a caller that keeps the interpreter to itself.
    with RawServer([answer(openai_answer("yes"))]) as server:
        assert OpenAIProvider("key", base_url=server.url).sync.complete("hi").content == "yes"


def test_threads_wait_at_the_same_time():
    with Simulator(ttft=0.5) as sim:
        llm = sim.provider()
        with ThreadPoolExecutor(4) as pool:
            responses = list(pool.map(llm.sync.complete, "abcd"))
        assert len(responses) == 4
        assert sim.stats().max_in_flight == 4


def test_inside_a_running_loop(llm):
    async def main():
        return llm.sync.complete("hi").content, "".join(llm.sync.stream("hi"))

    whole, streamed = asyncio.run(main())
    assert whole == streamed


def test_in_a_thread_of_a_loop_at_once_with_it(llm):
    async def main():
        calls = [asyncio.to_thread(llm.sync.complete, "hi") for _ in range(4)]
        return await asyncio.gather(*calls, *(llm.complete("hi") for _ in range(4)))

    assert len({response.content for response in asyncio.run(main())}) == 1


def test_threads_that_share_a_stream_get_each_piece_once(sim):
    sim.push(tokens=5000)
    stream, pieces = sim.provider().sync.stream("hi"), []

    def read():
        for text in stream:
            pieces.append(text)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(pieces) == 5000
    assert sorted("".join(pieces)) == sorted(stream.response.content)


def test_after_the_end_and_before_it(sim):
    stream = sim.provider().sync.stream("hi")
    with pytest.raises(ClosedError, match="read to its end"):
        stream.response  # noqa: B018
    list(stream)
    assert list(stream) == []
    assert stream.response.content


def test_a_closed_stream_ends(sim):
    sim.push(tokens=100_000, gap=0.05)
    stream = sim.provider().sync.stream("hi")
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []
    eventually(lambda: sim.stats().aborted == 1)


def test_no_event_loop_and_no_asyncio_is_needed(sim):
    out = run(
        """
        import sys
        from edgequake_llm import OpenAIProvider
        llm = OpenAIProvider("key", base_url=sys.argv[1])
        print(llm.sync.complete("hi").content == "".join(llm.sync.stream("hi")), "asyncio" in sys.modules)
        """,
        sim.base_url("openai"),
    )
    assert out == "True False\n"
