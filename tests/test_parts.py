"""Content parts: pictures, documents and sounds on the wires, their limits, and what answers bring besides text."""

from __future__ import annotations

import base64
import json
import pathlib
import pickle
from typing import Any

import pytest

from edgequake_llm import (
    CachedProvider,
    ChatMessage,
    CitationEvent,
    ContentPart,
    InvalidRequestError,
    OpenAIProvider,
    Simulator,
    UnsupportedOption,
)
from edgequake_llm._core import decode_chat

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PDF = b"%PDF-1.7\n"
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "
URL = "https://example.com/cat.png"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def content(provider: Any, *parts: Any) -> Any:
    """The parts as they stand in the body."""
    _, body = provider._core.encode([ChatMessage.user(list(parts))], None, {})
    body = json.loads(body)
    return body["contents"][0]["parts"] if "contents" in body else body["messages"][0]


def test_pictures_on_the_wires(sim, tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    for source in (PNG, path, str(path), memoryview(PNG), f"data:image/png;base64,{b64(PNG)}"):
        image = ContentPart.image(source)
        url = f"data:image/png;base64,{b64(PNG)}"
        assert content(sim.provider("openai"), "see", image)["content"] == [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        source_here = {"type": "base64", "media_type": "image/png", "data": b64(PNG)}
        assert content(sim.provider("anthropic"), image)["content"] == [{"type": "image", "source": source_here}]
        assert content(sim.provider("gemini"), image) == [{"inlineData": {"mimeType": "image/png", "data": b64(PNG)}}]
        assert content(sim.provider("ollama"), image)["images"] == [b64(PNG)]
    detailed = ContentPart.image(URL, detail="low")
    assert content(sim.provider("openai"), detailed)["content"][0]["image_url"] == {"url": URL, "detail": "low"}
    assert content(sim.provider("anthropic"), detailed)["content"][0]["source"] == {"type": "url", "url": URL}
    assert content(sim.provider("gemini"), detailed) == [{"fileData": {"mimeType": "image/png", "fileUri": URL}}]
    with pytest.raises(UnsupportedOption, match="fetch it"):
        content(sim.provider("ollama"), detailed)


def test_documents_on_the_wires(sim, tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(PDF)
    document = ContentPart.document(path)
    assert content(sim.provider("openai"), document)["content"] == [
        {"type": "file", "file": {"filename": "report.pdf", "file_data": f"data:application/pdf;base64,{b64(PDF)}"}}
    ]
    assert content(sim.provider("anthropic"), document)["content"] == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": b64(PDF)},
            "title": "report.pdf",
        }
    ]
    inline = {"inlineData": {"mimeType": "application/pdf", "data": b64(PDF)}}
    assert content(sim.provider("gemini"), document) == [inline]
    note = ContentPart.document(b"caf\xc3\xa9", media_type="text/plain", name="note")
    assert content(sim.provider("anthropic"), note)["content"][0]["source"] == {
        "type": "text",
        "media_type": "text/plain",
        "data": "café",
    }
    with pytest.raises(UnsupportedOption, match="its pages as images"):
        content(sim.provider("ollama"), document)
    uploaded = ContentPart.file("file-1")
    assert content(sim.provider("openai"), uploaded)["content"] == [{"type": "file", "file": {"file_id": "file-1"}}]


def test_sounds_on_the_wires(sim):
    sound = ContentPart.audio(WAV)
    assert content(sim.provider("openai"), sound)["content"] == [
        {"type": "input_audio", "input_audio": {"data": b64(WAV), "format": "wav"}}
    ]
    assert content(sim.provider("gemini"), sound) == [{"inlineData": {"mimeType": "audio/wav", "data": b64(WAV)}}]
    for name in ("anthropic", "ollama"):
        with pytest.raises(UnsupportedOption, match="transcript"):
            content(sim.provider(name), sound)


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b"\xff\xd8\xff\xe0", "x", "image/jpeg"),
        (b"GIF89a", "x", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "x", "image/webp"),
        (b"\0\0\0\x18ftypheic", "x", "image/heic"),
        (PNG, "misnamed.jpg", "image/png"),
        (b"anything", "x.webp", "image/webp"),
    ],
)
def test_the_type_is_told_by_the_bytes_or_else_by_the_name(tmp_path, data, name, media_type):
    path = tmp_path / name
    path.write_bytes(data)
    assert ContentPart.image(path)["image_url"]["url"].startswith(f"data:{media_type};base64,")


def test_sources_that_cannot_be(tmp_path):
    for make, source, says in (
        (ContentPart.image, b"", "empty"),
        (ContentPart.image, b"???", "not known; give media_type"),
        (ContentPart.image, PDF, "application/pdf, not image/"),
        (ContentPart.document, PNG, "image/png, not application/ or text/"),
        (ContentPart.audio, PNG, "image/png, not audio/"),
        (ContentPart.image, 3, "a URL, a path or bytes, not int"),
    ):
        with pytest.raises(InvalidRequestError, match=says):
            make(source)
    with pytest.raises(FileNotFoundError):
        ContentPart.image(tmp_path / "nowhere.png")


def test_types_and_sizes_are_checked_before_sending(sim):
    tiff = ContentPart.image(b"II*\0", media_type="image/tiff")
    openai = OpenAIProvider("k")
    for llm in (openai, sim.provider("anthropic"), sim.provider("gemini"), sim.provider("ollama")):
        with pytest.raises(InvalidRequestError, match=f"{llm.name} takes no image/tiff as an image; it takes image/"):
            content(llm, tiff)
    # What another server of OpenAI's format takes is its own business.
    assert content(sim.provider("openai"), tiff)
    assert content(OpenAIProvider.preset("azure", "k", base_url="https://x.test", model="m"), tiff)
    large = ContentPart.image(PNG + bytes(11 << 20))
    with pytest.raises(
        InvalidRequestError, match=r"an image of 11\.0 MB is larger than the 10\.0 MB that anthropic takes"
    ):
        content(sim.provider("anthropic"), large)
    assert content(openai, large)
    nine = ContentPart.image(PNG + bytes(9 << 20))
    with pytest.raises(
        InvalidRequestError, match=r"in base64, more than the 32\.0 MB that anthropic takes in a request"
    ):
        content(sim.provider("anthropic"), nine, nine, nine)
    # Also inside of a tool's result.
    messages = [
        ChatMessage.user("hi"),
        ChatMessage("assistant", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
        ChatMessage.tool("a", tiff),
    ]
    with pytest.raises(InvalidRequestError, match="image/tiff"):
        sim.provider("anthropic")._core.encode(messages, None, {})


def test_parts_are_plain_data_that_hides_its_bytes():
    image = ContentPart.image(PNG)
    assert json.loads(json.dumps(image)) == image == pickle.loads(pickle.dumps(image))
    assert repr(image) == "<ContentPart image_url data:image/png;base64>"
    assert repr(ContentPart.document(PDF)) == "<ContentPart document application/pdf>"
    assert repr(ContentPart.text("hi")) == "ContentPart.text('hi')"
    assert repr(ContentPart.file("f1", "image")) == "<ContentPart image f1>"
    assert ContentPart.text("x", cache="1h")["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    message = ChatMessage.user(["see", image, ContentPart.audio("https://example.com/a.wav")])
    assert ChatMessage.from_dict(json.loads(json.dumps(message.to_dict()))) == message


async def test_a_tool_may_return_a_picture(sim):
    def photo() -> ContentPart:
        """Take a photo."""
        return ContentPart.image(PNG)

    sim.push(tool_calls=[("photo", "{}")])
    await sim.provider("anthropic").run("Look.", tools=[photo])
    block = json.loads(sim.requests()[-1]["body"])["messages"][-1]["content"][0]["content"][0]
    assert (block["type"], block["source"]["data"]) == ("image", b64(PNG))


# ---- what answers bring besides text


def stream_of(events: list[Any], name: bool = False) -> bytes:
    texts = [(f"event: {event['type']}\n" if name else "") + f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join(texts).encode()


def cited(response: Any) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(response.content[one.start : one.end], one.url, one.title, one.cited_text) for one in response.citations]


PAGE = {
    "type": "page_location",
    "cited_text": "The sky is blue.",
    "document_index": 0,
    "document_title": "Colours",
    "start_page_number": 1,
    "end_page_number": 2,
}
FOUND = {"type": "web_search_result_location", "url": URL, "title": "Cats", "cited_text": "Cats purr."}


def test_citations_of_anthropic():
    blocks = [
        {"type": "text", "text": "Né: "},
        {"type": "text", "text": "blue", "citations": [PAGE, FOUND]},
        {"type": "text", "text": "."},
    ]
    whole = {"id": "m", "model": "c", "content": blocks, "stop_reason": "end_turn"}
    expected = [("blue", None, "Colours", "The sky is blue."), ("blue", URL, "Cats", "Cats purr.")]
    response = decode_chat("anthropic", json.dumps(whole).encode())
    assert cited(response) == expected
    assert response.citations[0].raw == PAGE
    events: list[Any] = [{"type": "message_start", "message": {"id": "m", "model": "c", "content": []}}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
        for citation in block.get("citations", ()):
            delta = {"type": "citations_delta", "citation": citation}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        for letter in block["text"]:
            delta = {"type": "text_delta", "text": letter}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
    streamed = decode_chat("anthropic", stream_of(events, name=True), stream=True)
    assert (streamed.content, cited(streamed)) == ("Né: blue.", expected)


def test_citations_of_openai():
    annotation = {
        "type": "url_citation",
        "url_citation": {"url": URL, "title": "Cats", "start_index": 3, "end_index": 7},
    }
    message = {"role": "assistant", "content": "Né blue.", "annotations": [annotation]}
    whole = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    response = decode_chat("openai", json.dumps(whole).encode())
    assert cited(response) == [("blue", URL, "Cats", None)]
    assert response.citations[0].raw == annotation
    deltas = [{"content": "Né "}, {"content": "blue."}, {"annotations": [annotation]}, {"annotations": [annotation]}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    streamed = decode_chat("openai", stream_of(chunks) + b"data: [DONE]\n\n", stream=True)
    assert cited(streamed) == [("blue", URL, "Cats", None)]


def test_citations_of_gemini():
    metadata = {
        "groundingChunks": [{"web": {"uri": URL, "title": "Cats"}}, {"web": {"uri": "https://b", "title": "B"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 4, "endIndex": 8, "text": "blue"}, "groundingChunkIndices": [0, 1, 7]},
            {"segment": {"endIndex": 4}, "groundingChunkIndices": [1]},
        ],
    }
    candidate = {
        "content": {"parts": [{"text": "Né blue."}]},
        "finishReason": "STOP",
        "groundingMetadata": metadata,
        "citationMetadata": {"citationSources": [{"startIndex": 0, "endIndex": 99, "uri": "https://c"}]},
    }
    response = decode_chat("gemini", json.dumps({"candidates": [candidate]}).encode())
    assert cited(response) == [
        ("blue", URL, "Cats", None),
        ("blue", "https://b", "B", None),
        ("Né ", "https://b", "B", None),
        ("Né blue.", "https://c", None, None),
    ]
    streamed = decode_chat("gemini", stream_of([{"candidates": [candidate]}]), stream=True)
    assert cited(streamed) == cited(response)


async def test_citations_come_as_events(sim):
    block = {"type": "text", "text": ""}
    events = [
        {"type": "message_start", "message": {"id": "m", "model": "c", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Purr."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": FOUND}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    sim.push(body=stream_of(events, name=True))
    stream = sim.provider("anthropic").stream("hi")
    (event,) = [event async for event in stream.events() if isinstance(event, CitationEvent)]
    assert (event.citation.url, event.citation.start, event.citation.end) == (URL, 0, 5)
    assert repr(event.citation) == f"Citation(0:5, '{URL}')".replace("'", '"')
    assert [one.url for one in stream.response.citations] == [URL]


@pytest.mark.parametrize("streamed", [False, True])
def test_refusals_are_kept(streamed):
    if streamed:
        chunks = [{"choices": [{"index": 0, "delta": {"refusal": piece}}]} for piece in ("I ", "won't.")]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        response = decode_chat("openai", stream_of(chunks) + b"data: [DONE]\n\n", stream=True)
    else:
        message = {"role": "assistant", "content": None, "refusal": "I won't."}
        body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        response = decode_chat("openai", json.dumps(body).encode())
    assert (response.refusal, response.content) == ("I won't.", "")
    assert response.message.to_dict()["content"] == [{"type": "refusal", "refusal": "I won't."}]


def test_the_pages_of_the_docs_name_the_limits():
    page = (pathlib.Path(__file__).parent.parent / "docs" / "content-parts.md").read_text()
    for limit in ("32 MB", "50 MB", "100 MB", "10 MB"):
        assert limit in page


# ---- citations go back

CITED = [
    {"type": "text", "text": "It is "},
    {
        "type": "text",
        "text": "blue",
        "citations": [
            {
                "type": "char_location",
                "cited_text": "The sky is blue.",
                "document_index": 0,
                "document_title": None,
                "start_char_index": 0,
                "end_char_index": 16,
            }
        ],
    },
    {"type": "text", "text": " and "},
    {"type": "text", "text": "wide", "citations": [{"type": "x", "n": 1}, {"type": "x", "n": 2}]},
    {"type": "text", "text": "."},
]
WHOLE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": CITED,
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def streamed():
    """The same as a stream: the citations of a block come before, between and after the pieces of its text."""
    events = [{"type": "message_start", "message": {**WHOLE, "content": [], "stop_reason": None}}]
    for index, block in enumerate(CITED):
        citations = block.get("citations", [])
        opened = {"type": "text", "text": "", "citations": [] if citations else None}
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        middle = len(block["text"]) // 2
        deltas = [{"type": "text_delta", "text": text} for text in (block["text"][:middle], block["text"][middle:])]
        for at, citation in enumerate(citations):
            deltas.insert(2 * at, {"type": "citations_delta", "citation": citation})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_citations_of_an_answer_go_back_with_it(stream, stored):
    body = streamed() if stream else json.dumps(WHOLE).encode()
    response = decode_chat("anthropic", body, stream=stream)
    assert response.content == "It is blue and wide."
    assert [(citation.start, citation.end) for citation in response.citations] == [(6, 10), (15, 19), (15, 19)]
    message = response.message
    if stored:
        message = ChatMessage.from_dict(json.loads(json.dumps(message.to_dict())))
    assert message == response.message
    assert pickle.loads(pickle.dumps(message)) == message
    with Simulator() as sim:
        _, sent = sim.provider("anthropic")._core.encode([ChatMessage.user("Why?"), message, ChatMessage.user("Sure?")])
        assert json.loads(sent)["messages"][1] == {"role": "assistant", "content": CITED}
        # To the others they mean nothing.
        for name in ("openai", "gemini", "ollama"):
            _, sent = sim.provider(name)._core.encode([ChatMessage.user("Why?"), message, ChatMessage.user("Sure?")])
            assert b"cited_text" not in sent
            assert b"blue" in sent


async def test_citations_stay_in_a_cached_answer(sim):
    sim.push(body=json.dumps(WHOLE).encode())
    cached = CachedProvider(sim.provider("anthropic"))
    first = await cached.complete("Why?")
    stream = cached.stream("Why?")
    async for _ in stream:
        pass
    assert stream.response.cached
    assert stream.response.message == first.message
    assert first.message.to_dict()["content"] == CITED
