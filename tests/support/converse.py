"""A small server that speaks Bedrock's Converse, written from its API reference and apart from the client.

    with ConverseServer() as server:
        server.push(events=[...])
        BedrockProvider("key", base_url=server.url)
        server.requests()[-1]["body"]

It answers a text, or a call of the tool that it is made to call; `push` scripts the next answer. `message` is the encoding of
one message of an event stream.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import http.server
import json
import struct
import threading
from collections import deque
from types import SimpleNamespace
from urllib.parse import quote


def message(name, payload, kind="event", **further):
    """Encode one message: an event, an exception, or an error (whose payload is its text)."""
    texts = {":message-type": kind}
    if kind == "error":
        texts |= {":error-code": name, ":error-message": payload}
        data = b""
    else:
        texts |= {f":{kind}-type": name, ":content-type": "application/json"}
        data = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    texts |= further
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for key, value in texts.items()
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(data), len(headers))
    whole = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + data
    return whole + struct.pack("!I", binascii.crc32(whole))


def stream(*events):
    """Encode events, each a pair of name and payload."""
    return b"".join(message(*event) for event in events)


USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}


def streamed(text="Hello there", stop="end_turn", usage=USAGE):
    """The events of a streamed text, with the padding that Bedrock adds."""
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    return [
        ("messageStart", {"role": "assistant", "p": "ab"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}, "p": "abcd"}) for piece in pieces),
        ("contentBlockStop", {"contentBlockIndex": 0, "p": "a"}),
        ("messageStop", {"stopReason": stop, "p": "abcdef"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 12}, "p": "abc"}),
    ]


def whole(*content, stop="end_turn", usage=USAGE):
    """The body of an answer of these blocks."""
    output = {"message": {"role": "assistant", "content": list(content)}}
    return {"output": output, "stopReason": stop, "usage": usage, "metrics": {"latencyMs": 12}}


def value_for(schema):
    """A value that fits a schema, as far as the tests need one."""
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {name: value_for(one) for name, one in schema.get("properties", {}).items()}
    return {"array": [1], "integer": 1, "number": 1, "boolean": True}.get(kind, "x")


def signature(request, host, region, secret):
    """The signature of a request as AWS's guide has it, from what came over the wire."""
    _, _, fields = request["headers"]["authorization"].partition(" ")
    given = dict(field.split("=", 1) for field in fields.split(", "))
    names = given["SignedHeaders"].split(";")
    headers = request["headers"] | {"host": host}
    path, _, query = request["path"].partition("?")
    canonical = [
        request["method"],
        quote(path, safe="/-_.~"),
        "&".join(sorted(query.split("&"))),
        *(f"{name}:{headers[name].strip()}" for name in names),
        "",
        given["SignedHeaders"],
        hashlib.sha256(request["body"].encode()).hexdigest(),
    ]
    time = headers["x-amz-date"]
    scope = [time[:8], region, "bedrock", "aws4_request"]
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = b"AWS4" + secret.encode()
    for part in [*scope, "\n".join(["AWS4-HMAC-SHA256", time, "/".join(scope), hashed])]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return given, key.hex(), names


class ConverseServer:
    """Listens on a free port of the loopback device."""

    def __init__(self):
        self._seen = []
        self._scripts = deque()
        self._cached = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer._answer(self)

            do_GET = do_POST  # noqa: N815 - the name that the server calls

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._server.server_close()

    def base_url(self, wire):
        """Return the address, by which tests for all providers ask."""
        assert wire == "bedrock"
        return self.url

    def push(self, **script):
        """Script the next answer: `status`, `body` (bytes or JSON), `headers`; or `events`, or `tool_calls`."""
        self._scripts.append(script)

    def clear(self):
        """Forget what was scripted."""
        self._scripts.clear()

    def requests(self):
        """Return what came, as a simulator does."""
        return list(self._seen)

    def stats(self):
        """Count what came."""
        return SimpleNamespace(requests=len(self._seen))

    def _answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self._seen.append({"method": handler.command, "path": handler.path, "headers": headers, "body": body.decode()})
        script = self._scripts.popleft() if self._scripts else {}
        if "events" in script:
            return self._send(handler, 200, "application/vnd.amazon.eventstream", stream(*script["events"]))
        if "body" in script or "status" in script:
            given = script.get("body", b"")
            data = given if isinstance(given, bytes) else json.dumps(given).encode()
            kind = script.get("type", "application/json")
            return self._send(handler, script.get("status", 200), kind, data, script.get("headers", {}))
        asked, path = json.loads(body), handler.path.partition("?")[0]
        if path.endswith("/count-tokens"):
            assert asked["input"]["converse"]["messages"]
            return self._send(handler, 200, "application/json", b'{"inputTokens": 7}')
        if path.endswith("/converse-stream"):
            return self._send(handler, 200, "application/vnd.amazon.eventstream", stream(*streamed()))
        return self._send(handler, 200, "application/json", json.dumps(self._reply(asked, script)).encode())

    def _reply(self, asked, script):
        usage = USAGE
        if "cachePoint" in json.dumps(asked):
            prefix = json.dumps(asked.get("system"))
            field = "cacheReadInputTokens" if prefix in self._cached else "cacheWriteInputTokens"
            self._cached.add(prefix)
            usage = usage | {field: 1000}
        config = asked.get("toolConfig", {})
        forced = config.get("toolChoice", {}).get("tool", {}).get("name")
        if "tool_calls" in script:
            blocks = [
                {"toolUse": {"toolUseId": f"t{n}", "name": name, "input": json.loads(arguments)}}
                for n, (name, arguments) in enumerate(script["tool_calls"])
            ]
            return whole(*blocks, stop="tool_use", usage=usage)
        if forced is not None:
            spec = next(one["toolSpec"] for one in config["tools"] if one["toolSpec"]["name"] == forced)
            arguments = value_for(spec["inputSchema"]["json"])
            block = {"toolUse": {"toolUseId": "t0", "name": forced, "input": arguments}}
            return whole(block, stop="tool_use", usage=usage)
        form = asked.get("outputConfig", {}).get("textFormat")
        if form is not None:
            schema = json.loads(form["structure"]["jsonSchema"]["schema"])
            return whole({"text": json.dumps(value_for(schema))}, usage=usage)
        return whole({"text": "Hello there"}, usage=usage)

    @staticmethod
    def _send(handler, status, kind, data, headers=None):
        handler.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.send_header("x-amzn-requestid", "req-1")
        handler.end_headers()
        handler.wfile.write(data)
