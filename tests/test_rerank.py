"""Reranking through Cohere- and Jina-like endpoints, and rankings made one."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgequake_llm import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    RateLimitError,
    Reranker,
    reciprocal_rank_fusion,
)

DOCUMENTS = ["the dog sleeps", "the quick brown fox", "a fox and a dog", "nothing of it"]


def reranker(sim, service="cohere", **settings):
    return Reranker(service, "secret", base_url=f"{sim.url}/v2", **settings)


@pytest.mark.parametrize("service", ["cohere", "jina"])
async def test_documents_in_the_order_of_their_relevance(sim, service):
    ranking = await reranker(sim, service).rerank("quick fox", DOCUMENTS, top_n=2)
    assert [(place.index, place.document) for place in ranking] == [(1, DOCUMENTS[1]), (2, DOCUMENTS[2])]
    assert ranking[0].score == 1.0
    assert ranking[1].score == 0.5
    assert (ranking.search_units, ranking.tokens > 0) == (1, True)
    request = sim.requests()[-1]
    assert (request["path"], request["headers"]["authorization"]) == ("/v2/rerank", "Bearer secret")
    body = json.loads(request["body"])
    assert body == {"model": ranking.model, "query": "quick fox", "documents": DOCUMENTS, "top_n": 2}
    assert len(reranker(sim, service).rerank_sync("dog", DOCUMENTS)) == 4
    assert "top_n" not in json.loads(sim.requests()[-1]["body"])


async def test_model_and_fields_of_ones_own(sim):
    ranker = reranker(sim, model="mine")
    await ranker.rerank("a", DOCUMENTS, extra={"max_tokens_per_doc": 9})
    body = json.loads(sim.requests()[-1]["body"])
    assert (body["model"], body["max_tokens_per_doc"]) == ("mine", 9)
    await ranker.rerank("a", DOCUMENTS, model="other")
    assert json.loads(sim.requests()[-1]["body"])["model"] == "other"


async def test_no_documents_need_no_request(sim):
    assert await reranker(sim).rerank("a", []) == []
    assert sim.stats().requests == 0


@pytest.mark.parametrize(
    ("query", "documents", "top_n"),
    [
        ("", ["a"], None),
        (" ", ["a"], None),
        ("q", ["a", 3], None),
        ("q", ["a"], 0),
        ("q", ["a"], -1),
        ("q", ["a"], True),
    ],
)
def test_bad_input_raises_before_anything_is_sent(sim, query, documents, top_n):
    with pytest.raises(InvalidRequestError) as caught:
        reranker(sim).rerank_sync(query, documents, top_n)
    assert caught.value.provider == "cohere"
    assert sim.stats().requests == 0


def test_keys_and_services(monkeypatch):
    for variable in ("COHERE_API_KEY", "CO_API_KEY", "JINA_API_KEY", "CO_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match="COHERE_API_KEY"):
        Reranker()
    with pytest.raises(ConfigurationError, match="cohere, jina"):
        Reranker("nobody", "k")
    monkeypatch.setenv("JINA_API_KEY", "secret")
    assert "api.jina.ai" in repr(Reranker("jina"))
    assert "secret" not in repr(Reranker("jina"))
    assert Reranker(base_url="http://localhost:8080/v1"), "a server of one's own needs no key"


async def test_errors_and_retries_as_with_a_chat(sim):
    sim.push(status=429, retry_after=0.01)
    async with reranker(sim) as ranker:
        assert await ranker.rerank("dog", DOCUMENTS)
    sim.push(status=401)
    with pytest.raises(AuthenticationError, match=r"^cohere: "):
        await reranker(sim).rerank("dog", DOCUMENTS)
    sim.push(status=429)
    with pytest.raises(RateLimitError, match=r"^jina: "):
        await reranker(sim, "jina", retry=0).rerank("dog", DOCUMENTS)
    # Cohere's own error body.
    sim.push(status=400, body=b'{"id": "x", "message": "invalid request: list of documents must not be empty"}')
    with pytest.raises(InvalidRequestError, match="list of documents"):
        await reranker(sim).rerank("dog", DOCUMENTS)


@pytest.mark.parametrize(
    "results",
    [
        None,
        3,
        [{"index": 9, "relevance_score": 1}],
        [{"index": -1, "relevance_score": 1}],
        [{"index": 0}],
        [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 0.5}],
        [{"index": 0, "relevance_score": "high"}],
    ],
)
def test_an_answer_that_is_no_ranking(sim, results):
    sim.push(body=json.dumps({"results": results}).encode())
    with pytest.raises(InvalidResponseError, match="no ranking of the 4 documents"):
        reranker(sim).rerank_sync("dog", DOCUMENTS)


def test_an_answer_in_the_documents_order_is_sorted(sim):
    results = [{"index": n, "relevance_score": score} for n, score in enumerate([0.1, 0.9, 0.5, 0.9])]
    sim.push(body=json.dumps({"results": results}).encode())
    assert [place.index for place in reranker(sim).rerank_sync("dog", DOCUMENTS)] == [1, 3, 2, 0]


RANKINGS = st.lists(st.lists(st.integers(0, 9), unique=True, max_size=10), max_size=5)


@given(RANKINGS, st.integers(0, 100))
def test_fusion_equals_its_formula(rankings, k):
    """Against fractions, item by item."""
    if k == 0:
        k = 1
    fused = reciprocal_rank_fusion(rankings, k=k)
    items = set(itertools.chain(*rankings))
    expected = {
        item: sum(Fraction(1, k + ranking.index(item) + 1) for ranking in rankings if item in ranking) for item in items
    }
    assert {item for item, _ in fused} == items
    assert len(fused) == len(items)
    for item, score in fused:
        assert math.isclose(score, expected[item], rel_tol=1e-12)
    for (_, before), (_, after) in itertools.pairwise(fused):
        assert before >= after


def test_fusion_with_weights_keys_and_repeats():
    texts = ["a", "b", "c"]
    assert [item for item, _ in reciprocal_rank_fusion([texts, ["c", "b", "a"]])] == ["a", "c", "b"]
    assert next(item for item, _ in reciprocal_rank_fusion([texts, ["c"]], weights=[1, 5])) == "c"
    assert reciprocal_rank_fusion([["a", "a", "b"]]) == [("a", 1 / 61), ("b", 1 / 63)], "the first place counts"
    rows = [[{"id": 1, "by": "text"}], [{"id": 1, "by": "vector"}]]
    assert reciprocal_rank_fusion(rows, key=lambda row: row["id"]) == [({"id": 1, "by": "text"}, 2 / 61)]
    assert reciprocal_rank_fusion([]) == []
    for bad in ({"weights": [1]}, {"weights": [1, -1]}, {"k": -1}, {"k": float("nan")}):
        with pytest.raises(InvalidRequestError):
            reciprocal_rank_fusion([texts, texts], **bad)
