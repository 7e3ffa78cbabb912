"""AWS's own client: it asks the server of the tests for Bedrock, and its service model judges what we send.

On request: `tests/foreign/run botocore`. What runs in its environment is in `botocore_calls`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from serving import environment

from edgequake_llm import BedrockProvider, ChatMessage, ContentPart
from support.converse import USAGE, signature, streamed

PYTHON = environment("botocore") / "python"
SECRET, TOKEN = "secret-of-the-test", "token-of-the-test"
CALLS = Path(__file__).with_name("botocore_calls.py")


def run(*arguments, given=None):
    """Run the calls and return what they print."""
    command = [PYTHON, CALLS, *arguments]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_server_of_the_tests_speaks_its_format(converse):
    broken = streamed("Hello there")[:3]
    converse.push()
    converse.push(events=streamed("Hello there"))
    converse.push(events=[*broken, ("throttlingException", {"message": "Too fast."}, "exception")])
    converse.push(events=[*broken, ("InternalFailure", "it broke", "error")])
    found = run("ask", converse.url)
    assert found["whole"] == {"message": {"role": "assistant", "content": [{"text": "Hello there"}]}}
    assert found["usage"] == USAGE
    assert [next(iter(event)) for event in found["streamed"]] == [name for name, _ in streamed("Hello there")]
    assert found["broken"] == [["throttlingException", "Too fast."], ["InternalFailure", "it broke"]]


def test_it_signs_as_the_tests_say_and_asks_where_we_ask(converse):
    run("ask", converse.url)
    theirs = converse.requests()
    host = converse.url.partition("//")[2]
    for request in theirs:
        given, computed, _ = signature(request, host, "eu-west-1", SECRET)
        assert given["Signature"] == computed
    model = theirs[0]["path"].split("/")[2].replace("%3A", ":").replace("%2F", "/")
    llm = BedrockProvider(
        region="eu-west-1",
        access_key_id="AKIDEXAMPLE0123456",
        secret_access_key=SECRET,
        session_token=TOKEN,
        base_url=converse.url,
        model=model,
    )
    llm.sync.complete("Grüße")
    list(llm.sync.stream("Grüße"))
    for ours, other in zip(converse.requests()[-2:], theirs, strict=False):
        assert ours["path"] == other["path"]
        assert json.loads(ours["body"]) == json.loads(other["body"])
        given, computed, _ = signature(ours, host, "eu-west-1", SECRET)
        assert given["Signature"] == computed
        assert ours["headers"]["x-amz-security-token"] == other["headers"]["x-amz-security-token"]


def now(zone: str) -> str:
    """Tell the time.

    Args:
        zone: Where.
    """
    return f"Noon in {zone}."


def test_what_we_send_fits_its_service_model(converse):
    llm = BedrockProvider("key", base_url=converse.url, prompt_cache=True)
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    hidden = {"reasoningContent": {"redactedContent": "b3BhcXVl"}}
    call = {"toolUse": {"toolUseId": "t0", "name": "now", "input": {"zone": "UTC"}}}
    message = {"role": "assistant", "content": [thought, hidden, call]}
    converse.push(body={"output": {"message": message}, "stopReason": "tool_use", "usage": USAGE})
    long = "What stays the same. " * 5000
    llm.sync.run("When?", system=long, tools=[now], reasoning=2048, max_tokens=4000, metadata={"team": "a"})
    files = [
        "See:",
        ContentPart.image(b"\x89PNG\r\n\x1a\n"),
        ContentPart.document(b"%PDF-1.7\n", name="a_b.pdf"),
        ContentPart.document(b"%PDF-1.7\n"),
        ContentPart.audio(b"RIFF\x00\x00\x00\x00WAVEfmt "),
        {"type": "image_url", "image_url": {"url": "s3://bucket/a.webp"}},
    ]
    llm.sync.chat([ChatMessage.user(files)], temperature=0.5, top_p=0.9, top_k=5, stop=["END"])
    for model in ("us.amazon.nova-2-lite-v1:0", "openai.gpt-oss-120b-1:0", "us.anthropic.claude-sonnet-4-6"):
        llm.sync.complete("Hi", model=model, reasoning="low")
        llm.sync.complete("Hi", model=model, response_format=list[int])
    for choice in ("auto", "required", "now"):
        llm.sync.complete("Hi", tools=[now, {"systemTool": {"name": "nova_grounding"}}], tool_choice=choice)
    llm.sync.complete("Hi", response_format="json")
    list(llm.sync.stream("Hi", tools=[now]))
    llm.sync.count_tokens("Hi", tools=[now], system="Be brief.", reasoning="low")
    assert run("check", given=converse.requests()) == []
    wrong = converse.requests()[-1] | {"path": "/model/m/converse", "body": '{"messages": [{"role": "tool"}], "x": 1}'}
    [[_, report, unknown]] = run("check", given=[wrong])
    assert "content" in report
    assert unknown == ["x"]
