"""Embeddings: any number of texts, split at the provider's limits, each vector with its own text, read without a copy."""

from __future__ import annotations

import array
import base64
import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgequake_llm import (
    HTTPConfig,
    InvalidRequestError,
    InvalidResponseError,
    OpenAIProvider,
    RateLimitError,
    ServerError,
    Simulator,
    Timeouts,
    TotalTimeout,
    UnsupportedOption,
    _core,
)
from support.raw import RawServer, answer

WITH = ["openai", "gemini", "ollama"]
# Texts in one request: OpenAI 2,048 (and 300,000 tokens), Gemini 100, Ollama as many as we let it.
LIMITS = {"openai": 2048, "gemini": 100, "ollama": 512}

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=WITH)
def embedder(sim, request):
    """Each provider that has embeddings."""
    return sim.provider(request.param)


def texts_of(request):
    """The texts in a recorded embedding request."""
    body = json.loads(request["body"])
    if "input" in body:
        return body["input"]
    return [item["content"]["parts"][0]["text"] for item in body["requests"]]


def vector_of(text, dims=4):
    """A vector that names its text: different for each, and the same in every encoding."""
    return [float(len(text)), float(sum(map(ord, text)) % 1009), float(ord(text[-1])), 0.5][:dims]


def openai_body(texts, *, order=None, index=True, **fields):
    """An answer of OpenAI's form with the vectors of these texts, in `order`."""
    order = range(len(texts)) if order is None else order
    data = []
    for n in order:
        item = {"object": "embedding", "embedding": vector_of(texts[n])}
        if index:
            item["index"] = n
        data.append(item)
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": usage, **fields}).encode()


async def test_vectors_come_in_the_order_of_their_texts(embedder, sim):
    texts = [f"text {n}" for n in range(7)]
    together = await embedder.embed(texts)
    assert len(together) == 7
    assert together.dimensions == 1536
    assert together.provider == embedder.name
    assert together.model
    for n, text in enumerate(texts):
        alone = await embedder.embed([text])
        assert together[n].tolist() == alone[0].tolist()
    assert sim.stats().requests == 8
    assert (embedder.sync.embed(texts)).tolist() == together.tolist()


@pytest.mark.parametrize("name", WITH)
async def test_many_texts_are_split_at_the_providers_limit(name):
    limit = LIMITS[name]
    count = 2 * limit + 3
    with Simulator(record=True, embedding_dims=3) as sim:
        texts = [f"t{n}" for n in range(count)]
        vectors = await sim.provider(name).embed(texts)
        batches = [texts_of(request) for request in sim.requests()]
        assert sorted(map(len, batches)) == [3, limit, limit]
        assert {text for batch in batches for text in batch} == set(texts)
        assert (len(vectors), vectors.dimensions, vectors.attempts) == (count, 3, 3)
        for n in (0, limit - 1, limit, 2 * limit, count - 1):
            assert vectors[n].tolist() == (await sim.provider(name).embed([texts[n]]))[0].tolist()
        if vectors.usage is not None:
            assert vectors.usage.prompt_tokens >= count


async def test_long_texts_are_split_by_their_size_too(sim):
    """OpenAI takes 300,000 tokens a request, and no token is shorter than a byte."""
    texts = ["x" * 100_000 + str(n) for n in range(7)]
    vectors = await sim.provider("openai").embed(texts)
    assert len(vectors) == 7
    for request in sim.requests():
        batch = texts_of(request)
        assert sum(len(text.encode()) for text in batch) <= 300_000 or len(batch) == 1
    assert sim.stats().requests >= 3


async def test_some_requests_run_at_once_but_not_all():
    with Simulator(ttft=0.05, embedding_dims=2) as sim:
        await sim.provider("gemini").embed([f"t{n}" for n in range(1000)])
        assert sim.stats().requests == 10
        assert 2 <= sim.stats().max_in_flight <= 4


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_server_may_answer_in_any_order(data):
    texts = data.draw(
        st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=8), min_size=1, max_size=12)
    )
    order = data.draw(st.permutations(range(len(texts))))
    vectors = _core.decode_embed("openai", openai_body(texts, order=order), len(texts))
    assert vectors.tolist() == [vector_of(text) for text in texts]


def test_both_encodings_are_read():
    packed = base64.b64encode(struct.pack("<4f", *vector_of("a"))).decode()
    body = {"data": [{"index": 1, "embedding": vector_of("bb")}, {"index": 0, "embedding": packed}]}
    assert _core.decode_embed("openai", json.dumps(body).encode(), 2).tolist() == [vector_of("a"), vector_of("bb")]


def test_no_index_at_all_means_the_order_of_the_texts():
    assert _core.decode_embed("openai", openai_body(["a", "bb"], index=False), 2)[1].tolist() == vector_of("bb")


@pytest.mark.parametrize(
    ("wire", "body", "words"),
    [
        ("openai", {"data": [{"index": 0, "embedding": [1.0]}]}, "lacks the vector of text 1"),
        ("openai", {"data": [{"index": 0, "embedding": [1.0]}] * 2}, "two vectors"),
        ("openai", {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]}, "beyond"),
        ("openai", {"data": [{"index": -1, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}, "vector"),
        ("openai", {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]}, "1 and 2"),
        ("openai", {"data": [{"index": 0, "embedding": "%%%"}, {"index": 1, "embedding": "AACAPw=="}]}, "base64"),
        ("openai", {"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]}, "0"),
        ("openai", {"data": []}, "lacks"),
        ("openai", {"data": None}, "no embeddings"),
        ("openai", {"object": "list"}, "no embeddings"),
        ("gemini", {"embeddings": [{"values": [1.0]}]}, "1 vectors came for 2 texts"),
        ("gemini", {"embeddings": [{"values": [1.0]}] * 3}, "3 vectors came for 2 texts"),
        ("gemini", {"embeddings": [{"values": [1.0]}, {"values": []}]}, "1 and 0"),
        ("gemini", {}, "no embeddings"),
        ("ollama", {"embeddings": [[1.0]]}, "1 vectors came for 2 texts"),
        ("ollama", {"embeddings": [[1.0], [1.0, 2.0]]}, "1 and 2"),
        ("ollama", {"model": "m"}, "no embeddings"),
        ("ollama", {"embeddings": [["x"], ["y"]]}, "got"),
    ],
)
def test_vectors_that_do_not_fit_their_texts_are_an_error(wire, body, words):
    with pytest.raises(InvalidResponseError, match=words) as caught:
        _core.decode_embed(wire, json.dumps(body).encode(), 2)
    assert caught.value.provider == wire


class TestReading:
    @pytest.fixture
    def vectors(self):
        return _core.decode_embed("openai", openai_body(["a", "bb", "ccc"]), 3)

    def test_numpy_reads_it_without_a_copy(self, vectors):
        one, other = np.asarray(vectors), np.asarray(vectors.buffer)
        assert one.shape == other.shape == (3, 4)
        assert one.dtype == np.float32
        assert np.shares_memory(one, other)
        assert not one.flags.writeable
        assert one.flags.c_contiguous
        assert one.tolist() == vectors.tolist()
        row = np.frombuffer(vectors[1], dtype=np.float32)
        assert np.shares_memory(row, one)
        assert row.tolist() == vector_of("bb")
        copy = np.array(vectors)
        assert not np.shares_memory(copy, one)
        assert copy.flags.writeable
        assert np.asarray(vectors, dtype=np.float64).dtype == np.float64
        assert np.shares_memory(np.asarray(vectors, copy=False), one)
        with pytest.raises(ValueError, match="copy"):
            np.asarray(vectors, dtype=np.float64, copy=False)

    def test_the_memory_outlives_the_object(self, vectors):
        one = np.asarray(vectors)
        expected = vectors.tolist()
        del vectors
        assert one.tolist() == expected

    def test_it_reads_as_a_sequence(self, vectors):
        assert len(vectors) == 3
        assert [row.tolist() for row in vectors] == vectors.tolist()
        assert vectors[-1].tolist() == vector_of("ccc")
        assert vectors[-3].tolist() == vector_of("a")
        for place in (3, -4, 2**70):
            with pytest.raises(IndexError):
                vectors[place]
        for place in ("0", 1.0, None):
            with pytest.raises(TypeError):
                vectors[place]

    def test_plain_buffers(self, vectors):
        view = vectors.buffer
        assert (view.format, view.shape, view.readonly, view.itemsize) == ("f", (3, 4), True, 4)
        row = vectors[0]
        assert (row.format, row.shape, row.readonly) == ("f", (4,), True)
        assert array.array("f", row.tobytes()).tolist() == vector_of("a")
        with pytest.raises(TypeError):
            row[0] = 1.0
        assert vectors.tolist() == [vector_of("a"), vector_of("bb"), vector_of("ccc")]
        assert all(type(number) is float for row in vectors.tolist() for number in row)

    def test_repr(self, vectors):
        assert repr(vectors) == 'Embeddings(model="m", texts=3, dimensions=4)'


async def test_bad_input_is_refused_before_anything_is_sent(embedder, sim):
    for texts, words in [
        ("one text", "list"),
        ([], "at least one"),
        (["a", ""], "text 1"),
        (["a", 5], "int"),
        ([b"a"], "bytes"),
        (b"a", "bytes"),
        ({"a": 1}, "dict"),
        (None, "NoneType"),
        (5, "int"),
        (["caf\udce9"], "lone surrogates"),
    ]:
        with pytest.raises(InvalidRequestError, match=words):
            await embedder.embed(texts)
        with pytest.raises(InvalidRequestError, match=words):
            embedder.sync.embed(texts)
    for options, words in [
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": -1}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"dimensions": 2.5}, "dimensions"),
        ({"dimensions": 2**40}, "dimensions"),
        ({"model": 5}, "model"),
        ({"model": " "}, "model"),
        ({"timeout": 0}, "more than 0"),
        ({"dimension": 5}, "dimensions"),
        ({"extra": []}, "extra"),
        ({"extra_headers": {"a": "b\nc"}}, "line break"),
    ]:
        with pytest.raises(ValueError, match=words):
            await embedder.embed(["a"], **options)
    assert sim.stats().connections == 0


async def test_any_iterable_of_texts_will_do(embedder):
    expected = (await embedder.embed(["a", "b"])).tolist()
    for texts in (("a", "b"), iter(["a", "b"]), (text for text in "ab"), np.array(["a", "b"])):
        assert (await embedder.embed(texts)).tolist() == expected


async def test_options_reach_the_request(sim):
    fields = {"extra": {"field_4711": 1}, "extra_headers": {"x-trace": "4711"}}
    for name in WITH:
        vectors = await sim.provider(name).embed(["a"], model="model-4711", dimensions=5, timeout=30, **fields)
        assert vectors.dimensions == 5
        request = sim.requests()[-1]
        assert "model-4711" in request["path"] + request["body"].decode()
        assert "field_4711" in request["body"].decode()
        assert request["headers"]["x-trace"] == "4711"
    await sim.provider("gemini").embed(["a"], task_type="RETRIEVAL_QUERY")
    assert json.loads(sim.requests()[-1]["body"])["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
    for name in ("openai", "ollama"):
        with pytest.raises(UnsupportedOption, match="task_type"):
            await sim.provider(name).embed(["a"], task_type="RETRIEVAL_QUERY")


async def test_a_provider_without_embeddings_says_so(sim):
    claude = sim.provider("anthropic")
    for _ in range(2):
        with pytest.raises(UnsupportedOption, match="OpenAI, Gemini or Ollama") as caught:
            await claude.embed(["a"])
        assert caught.value.provider == "anthropic"
    with pytest.raises(UnsupportedOption):
        claude.sync.embed(["a"])
    assert sim.stats().connections == 0
    assert claude.embedding_model is None


async def test_a_failed_batch_is_tried_again_alone():
    with Simulator(record=True, embedding_dims=2) as sim:
        sim.push(status=503, path="batchEmbed", retry_after=0.01)
        texts = [f"t{n}" for n in range(150)]
        vectors = await sim.provider("gemini").embed(texts)
        assert (len(vectors), vectors.attempts, sim.stats().requests) == (150, 3, 3)


async def test_a_batch_that_fails_for_good_keeps_the_finished_ones():
    """Of 1,000 texts in batches of 100 the last to be answered fails; what had come must not be lost."""
    texts = [f"t{n}" for n in range(1000)]
    with Simulator(record=True, embedding_dims=2) as sim:
        llm = sim.provider("gemini", retry=0)
        for _ in range(9):
            sim.push(path="batchEmbed")
        sim.push(path="batchEmbed", status=500, delay=0.2)
        with pytest.raises(ServerError) as caught:
            await llm.embed(texts)
        kept = caught.value.embedded
        failed = texts_of(sim.requests()[9])
        assert sorted(kept) == [n for n, text in enumerate(texts) if text not in set(failed)]
        place = next(iter(kept))
        alone = await llm.embed([texts[place]])
        assert kept[place].tolist() == alone[0].tolist()
        assert (kept[place].format, kept[place].shape) == ("f", (2,))
        # Enough to go on from there.
        rest = await llm.embed([text for n, text in enumerate(texts) if n not in kept])
        assert len(rest) == 100


async def test_a_failed_batch_stops_the_others():
    with Simulator(embedding_dims=2) as sim:
        sim.push(path="batchEmbed", status=400)
        for _ in range(3):
            sim.push(path="batchEmbed", delay=30)
        with pytest.raises(InvalidRequestError):
            await sim.provider("gemini").embed([f"t{n}" for n in range(1000)])
        assert sim.stats().requests <= 4


async def test_errors_keep_their_kind(embedder, sim):
    sim.push(status=429, retry_after=120)
    with pytest.raises(RateLimitError) as caught:
        await embedder.embed(["a"])
    assert caught.value.status == 429
    assert caught.value.embedded == {}


async def test_the_total_limit_is_the_whole_calls():
    """Ten batches, four at once, each well within the limit, and all together far beyond it."""
    with Simulator(embedding_dims=2) as sim:
        for _ in range(10):
            sim.push(path="batchEmbed", delay=0.4)
        with pytest.raises(TotalTimeout) as caught:
            await sim.provider("gemini", retry=0).embed([f"t{n}" for n in range(1000)], timeout=0.6)
        assert len(caught.value.embedded) == 400
        assert sim.stats().requests == 8


async def test_metrics_are_those_of_the_whole_call():
    with Simulator(embedding_dims=2) as sim:
        for _ in range(5):
            sim.push(path="batchEmbed", delay=0.05)
        vectors = await sim.provider("gemini").embed([f"t{n}" for n in range(500)])
        assert vectors.metrics.total_ms >= 100


async def test_the_rest_of_the_answer():
    with RawServer([answer(openai_body(["a"], model="m-2024"))]) as server:
        llm = OpenAIProvider("k", base_url=server.url, http=HTTPConfig(keep_alive=61), timeout=Timeouts(total=60))
        vectors = await llm.embed(["a"])
        assert (vectors.model, vectors.usage.prompt_tokens, vectors.attempts) == ("m-2024", 1, 1)
        assert json.loads(server.requests[0].body)["encoding_format"] == "base64"
