"""Who a request is for: `user`, `metadata`, extra headers and `traceparent`, as each provider was sent them."""

from __future__ import annotations

import json

import pytest

from edgequake_llm import (
    CachedProvider,
    CompletionOptions,
    HookedProvider,
    Hooks,
    OpenAIProvider,
    Simulator,
    UnsupportedOption,
    _core,
    traceparent_header,
)

LABELS = {"team": "search", "run": "4711"}


async def sent(llm, sim, **options):
    """Make a call and a stream; return the body that both sent, as JSON."""
    await llm.complete("hi", **options)
    async for _ in llm.stream("hi", **options):
        pass
    unary, stream = (json.loads(request["body"]) for request in sim.requests()[-2:])
    for name in ("stream", "stream_options"):
        unary.pop(name, None)
        stream.pop(name, None)
    assert unary == stream
    return unary


async def test_openai(sim):
    body = await sent(sim.provider("openai"), sim, user="u1", metadata=LABELS)
    assert (body["user"], body["metadata"]) == ("u1", LABELS)
    body = await sent(sim.provider("openai"), sim, metadata=LABELS, extra={"metadata": {"run": "1"}, "store": True})
    assert body["metadata"] == {"team": "search", "run": "1"}
    assert "metadata" not in await sent(sim.provider("openai"), sim, metadata={})
    body = await sent(sim.provider("openai"), sim, options=CompletionOptions(metadata=LABELS))
    assert body["metadata"] == LABELS


async def test_openai_responses():
    llm = OpenAIProvider("k", api="responses")
    _, body = llm._core.encode("hi", None, {"user": "u1", "metadata": LABELS})
    body = json.loads(body)
    assert (body["user"], body["metadata"]) == ("u1", LABELS)


async def test_anthropic(sim):
    llm = sim.provider("anthropic")
    assert (await sent(llm, sim, user="u1"))["metadata"] == {"user_id": "u1"}
    assert (await sent(llm, sim, metadata={"user_id": "u2"}))["metadata"] == {"user_id": "u2"}
    body = await sent(llm, sim, user="u1", metadata=LABELS, drop_unsupported=True)
    assert body["metadata"] == {"user_id": "u1"}


@pytest.mark.parametrize("name", ["gemini", "ollama"])
async def test_what_has_no_place_is_left_out_only_when_that_is_allowed(sim, name):
    llm = sim.provider(name)
    plain = await sent(llm, sim)
    assert await sent(llm, sim, user="u1", metadata=LABELS, drop_unsupported=True) == plain
    for option in ({"user": "u1"}, {"metadata": LABELS}):
        with pytest.raises(UnsupportedOption) as caught:
            await llm.complete("hi", **option)
        assert caught.value.param == next(iter(option))


def test_compatible_servers():
    takes = set()
    for name in _core.preset_names():
        llm = OpenAIProvider.preset(name, api_key="k", base_url="http://localhost:1/v1")
        try:
            _, body = llm._core.encode("hi", None, {"metadata": LABELS, "model": "m"})
        except UnsupportedOption as error:
            assert "extra=" in str(error)
        else:
            assert json.loads(body)["metadata"] == LABELS
            takes.add(name)
    assert takes == {"azure", "mistral", "openrouter"}


async def test_headers_and_traceparent_of_every_call(llm, sim):
    header = traceparent_header("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    traced = HookedProvider(
        llm, Hooks(on_request=lambda call: call.replace(fields={**call.fields, "extra_headers": header}))
    )
    await traced.complete("hi")
    async for _ in traced.stream("hi"):
        pass
    traced.sync.complete("hi")
    await traced.list_models()
    if llm.name != "anthropic":
        await traced.embed(["a"], model="m")
    for request in sim.requests():
        assert request["headers"]["traceparent"] == header["traceparent"]
    assert len(sim.requests()) == (4 if llm.name == "anthropic" else 5)


async def test_labels_do_not_change_what_a_cache_finds():
    with Simulator() as sim:
        cached = CachedProvider(sim.provider("openai"))
        await cached.complete("hi", metadata={"run": "1"})
        assert (await cached.complete("hi", metadata={"run": "2"})).cached


async def test_counting_tokens_leaves_out_what_is_unsupported_if_allowed(sim):
    llm = sim.provider("gemini")
    with pytest.raises(UnsupportedOption, match="user"):
        await llm.count_tokens("hi", user="u1")
    plain = await llm.count_tokens("hi")
    assert await llm.count_tokens("hi", user="u1", metadata=LABELS, drop_unsupported=True) == plain
    assert sim.provider("gemini", drop_unsupported=True).sync.count_tokens("hi", user="u1") == plain
    bodies = [json.loads(request["body"]) for request in sim.requests()]
    assert bodies[0] == bodies[1] == bodies[2]
    with pytest.raises(UnsupportedOption, match="count_tokens"):
        await sim.provider("openai").count_tokens("hi", drop_unsupported=True)
