"""The clients that are compared, each doing the same work in the way its own documentation shows.

`call()` makes one chat completion and returns its text; `stream()` reads one streamed answer and returns the number of
its text deltas; `history(messages)` makes one completion with a long conversation.
"""

from __future__ import annotations

import json
from typing import Any

MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Say something about latency, please, in a few words."}]


class Client:
    def __init__(self, base: str) -> None:
        self.base = base
        self.url = f"{base}/chat/completions"

    async def call(self) -> str:
        return await self.history(MESSAGES)

    async def history(self, messages: list[dict[str, str]]) -> str:
        raise NotImplementedError

    async def stream(self) -> int:
        raise NotImplementedError


def body(messages: list[dict[str, str]], *, stream: bool = False) -> dict[str, Any]:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return {"model": MODEL, "messages": messages, **options}


def deltas(loads: Any, line: bytes) -> int:
    """Count 1 for a line that carries text, 0 for any other."""
    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
        return 0
    chunk = loads(line[6:])
    return 1 if chunk["choices"] and chunk["choices"][0]["delta"].get("content") else 0


class EdgeQuake(Client):
    def __init__(self, base: str) -> None:
        super().__init__(base)
        from edgequake_llm import OpenAIProvider

        self.llm = OpenAIProvider("x", model=MODEL, base_url=base)

    async def history(self, messages):
        return (await self.llm.chat(messages)).content

    async def stream(self):
        count = 0
        async for _ in self.llm.stream(MESSAGES):
            count += 1
        return count


class Httpx(Client):
    def __init__(self, base: str) -> None:
        super().__init__(base)
        import httpx

        self.client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200, max_keepalive_connections=200))

    async def history(self, messages):
        response = await self.client.post(self.url, json=body(messages), headers={"authorization": "Bearer x"})
        return response.json()["choices"][0]["message"]["content"]

    async def stream(self):
        async with self.client.stream("POST", self.url, json=body(MESSAGES, stream=True)) as response:
            return sum([deltas(json.loads, line.encode()) async for line in response.aiter_lines()])


class Aiohttp(Client):
    """With orjson, as its users do who care."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        import aiohttp
        import orjson

        self.loads = orjson.loads
        connector = aiohttp.TCPConnector(limit=200)
        self.session = aiohttp.ClientSession(connector=connector, json_serialize=lambda x: orjson.dumps(x).decode())

    async def history(self, messages):
        async with self.session.post(self.url, json=body(messages), headers={"authorization": "Bearer x"}) as response:
            return self.loads(await response.read())["choices"][0]["message"]["content"]

    async def stream(self):
        async with self.session.post(self.url, json=body(MESSAGES, stream=True)) as response:
            return sum([deltas(self.loads, line) async for line in response.content])


class Pyreqwest(Client):
    """With orjson, as its users do who care."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        import orjson
        from pyreqwest.client import ClientBuilder

        self.loads = orjson.loads
        self.client = ClientBuilder().build()

    async def history(self, messages):
        request = self.client.post(self.url).body_json(body(messages)).header("authorization", "Bearer x").build()
        return (await (await request.send()).json())["choices"][0]["message"]["content"]

    async def stream(self):
        count, rest = 0, b""
        async with self.client.post(self.url).body_json(body(MESSAGES, stream=True)).build_streamed() as response:
            while (piece := await response.body_reader.read_chunk()) is not None:
                *lines, rest = (rest + bytes(piece)).split(b"\n")
                count += sum(deltas(self.loads, line) for line in lines)
        return count


class OpenAI(Client):
    def __init__(self, base: str) -> None:
        super().__init__(base)
        import openai

        self.client = openai.AsyncOpenAI(api_key="x", base_url=base)

    async def history(self, messages):
        response = await self.client.chat.completions.create(model=MODEL, messages=messages)
        return response.choices[0].message.content

    async def stream(self):
        chunks = await self.client.chat.completions.create(**body(MESSAGES, stream=True))
        return sum([1 async for chunk in chunks if chunk.choices and chunk.choices[0].delta.content])


class Anthropic(Client):
    """Speaks its own format, to the same upstream."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        import anthropic

        self.client = anthropic.AsyncAnthropic(api_key="x", base_url=base.removesuffix("/v1"))

    async def history(self, messages):
        response = await self.client.messages.create(model="claude-haiku-4-5", max_tokens=1000, messages=messages)
        return response.content[0].text

    async def stream(self):
        create = self.client.messages.create
        events = await create(model="claude-haiku-4-5", max_tokens=1000, messages=MESSAGES, stream=True)
        return sum([1 async for event in events if event.type == "content_block_delta"])


class Litellm(Client):
    def __init__(self, base: str) -> None:
        super().__init__(base)
        import litellm

        litellm.telemetry = False
        self.complete = litellm.acompletion

    async def history(self, messages):
        model = f"openai/{MODEL}"
        response = await self.complete(model=model, messages=messages, api_key="x", api_base=self.base)
        return response.choices[0].message.content

    async def stream(self):
        model = f"openai/{MODEL}"
        chunks = await self.complete(model=model, messages=MESSAGES, api_key="x", api_base=self.base, stream=True)
        return sum([1 async for chunk in chunks if chunk.choices and chunk.choices[0].delta.content])


CLIENTS: dict[str, type[Client]] = {
    "edgequake_llm": EdgeQuake,
    "pyreqwest": Pyreqwest,
    "aiohttp": Aiohttp,
    "httpx": Httpx,
    "openai": OpenAI,
    "anthropic": Anthropic,
    "litellm": Litellm,
}
