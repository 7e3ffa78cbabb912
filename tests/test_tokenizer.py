"""`Tokenizer`: tiktoken's results to the token, and text cut by them."""

from __future__ import annotations

import itertools
import json
import pickle
import random
import sys
import threading
import time

import pytest
import tiktoken
import tiktoken.model
import tokenizers
from hypothesis import given as given_
from hypothesis import settings
from hypothesis import strategies as st

from edgequake_llm import (
    ChatMessage,
    ConfigurationError,
    InvalidRequestError,
    Tokenizer,
    count_tokens_if_needed,
    estimate_tokens,
)
from oracle import recordings
from oracle.tiktoken_encodings import NAMES, encoding
from support import processes


def given(**strategies):
    """As hypothesis has it, without a deadline: the first call makes tiktoken's tables."""
    return lambda test: settings(deadline=None)(given_(**strategies)(test))


# The three ways of cutting text; the other encodings share one of them.
PATTERNS = ("o200k_base", "cl100k_base", "r50k_base")
# What decides where a piece ends: case, marks, numbers, kinds of white space, apostrophes, and their likes beyond ASCII.
DECISIVE = "aAzZéÉßſΣσʰǅ漢字あア하ك\u0301\u0903\u20dd ٣½Ⅷ\t\n\r\u00a0\u0085\u2028\u3000'’sStTlLvVeErRdDmM019!?/.,<|>_-{}🙂\u200d\x00"
WORDS = ["don't", "WE'LL", "I'ſ", "HTTPServer", "camelCase", "x1234567", " the", "\r\n\r\n", "   ", "<|endoftext|>",
         "<|start|>", "<|endofprompt|", "naïve", "Straße", "Ελλάδα", "Россия", "日本語テキスト", "हिन्दी", "ภาษาไทย", "한국어",
         "עברית", "العربية", "👩‍👩‍👧", "==========", "\t\tif (a != b) {\n", "    return x;\n", "\u200b", "https://a.b/c?d=1"]  # fmt: skip

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
decisive_text = st.text(st.sampled_from(DECISIVE), max_size=80)
worded_text = st.lists(st.sampled_from(WORDS) | st.text(st.sampled_from(DECISIVE), max_size=4), max_size=30).map(
    "".join
)
# Pieces longer than the windows in which they are merged.
long_pieces = st.builds(
    lambda alphabet, size, seed: "".join(random.Random(seed).choices(alphabet, k=size)),
    st.sampled_from(["ab", "aeiounrst", "é", "漢字仮名交", "ab漢é", "=-", " ", "\n ", "ก็่า", "ABCDEFXYZ"]),
    st.integers(50, 700),
    st.integers(0, 2**32),
)
texts = any_text | decisive_text | worded_text | long_pieces


def lorem(size, seed=0):
    """`size` characters of words in several languages and code."""
    words = [*WORDS, "and", " of", " tokens", " in", "0", " def f(x):\n", ", "]
    return "".join(random.Random(seed).choices(words, k=size))[:size]


def same(name, text):
    """Our tokens, checked against tiktoken's and against the count."""
    ours = Tokenizer.for_encoding(name)
    tokens = ours.encode(text, disallowed_special=())
    assert tokens == encoding(name).encode_ordinary(text)
    assert ours.count_tokens(text) == len(tokens)
    return tokens


class TestEqualToTiktoken:
    @pytest.mark.parametrize("name", NAMES)
    def test_vocabulary_is_the_published_one(self, name):
        """The oracle checks the hash; the special tokens, the sizes and every token's bytes are checked here."""
        theirs, ours = encoding(name), Tokenizer.for_encoding(name)
        assert ours.name == name
        assert ours.special_tokens == theirs._special_tokens
        for token in [*theirs._mergeable_ranks.values(), *theirs._special_tokens.values()]:
            assert ours.decode_bytes([token]) == theirs.decode_single_token_bytes(token)

    @pytest.mark.parametrize("name", NAMES)
    @given(text=texts)
    def test_any_text(self, name, text):
        tokens = same(name, text)
        ours = Tokenizer.for_encoding(name)
        assert ours.decode(tokens) == text
        assert ours.decode_bytes(tokens) == text.encode()

    @pytest.mark.parametrize("name", PATTERNS)
    def test_every_character(self, name):
        """Each character of Unicode before, between and after letters of both cases, spaces, digits and apostrophes."""
        every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
        for start in range(0, len(every), 1 << 16):
            block = every[start : start + (1 << 16)]
            same(name, "".join(f"a{c}B {c}" for c in block))
            if block[0] < "\U00030000":
                same(name, "".join(f"{c}{c}a'{c}1{c}!{c}\n" for c in block))

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        "run",
        ["a", "é", "漢", "🙂", " ", "\n", "\t ", "=", "'s", "ab", "aB", "0", "\u0301", "A\u0301", "<|", " \u00a0"],
    )
    def test_long_runs(self, name, run):
        same(name, run * (20_000 // len(run)))
        same(name, "x" + run * (5000 // len(run)) + "x")

    @pytest.mark.parametrize("name", NAMES)
    def test_long_random_words(self, name):
        chance = random.Random(7)
        for alphabet in ("acgt", "0123456789abcdef", "абвгдеёжз", "的一是不了人我在有他这"):
            same(name, "".join(chance.choices(alphabet, k=10_000)))

    @pytest.mark.parametrize("name", NAMES)
    def test_mixed_text(self, name):
        same(name, lorem(100_000))

    @given(text=st.text(st.sampled_from("a\ud800\udc00\udfff漢 "), max_size=20))
    def test_surrogates(self, text):
        same("o200k_base", text)


class TestModels:
    def test_every_model_that_tiktoken_knows(self):
        names = dict(tiktoken.model.MODEL_TO_ENCODING)
        for prefix, name in tiktoken.model.MODEL_PREFIX_TO_ENCODING.items():
            names[prefix if prefix.startswith("ft:") or not prefix.endswith("-") else prefix + "2024-05-13"] = name
        for model, name in names.items():
            assert Tokenizer.for_model(model).name == name.replace("gpt2", "r50k_base"), model

    @pytest.mark.parametrize(
        ("model", "name"),
        [
            ("gpt-4o-mini-2024-07-18", "o200k_base"),
            ("gpt-4.1-nano-2025-04-14", "o200k_base"),
            ("gpt-5.1-codex", "o200k_base"),
            ("ft:gpt-4.1-2025-04-14:acme::AbC", "o200k_base"),
            ("ft:gpt-3.5-turbo:acme:x:1", "cl100k_base"),
            ("openai/gpt-4o", "o200k_base"),
            ("gpt-oss:20b", "o200k_harmony"),
            ("gpt-35-turbo-16k", "cl100k_base"),
        ],
    )
    def test_snapshots_fine_tunes_and_routers(self, model, name):
        tokenizer = Tokenizer.for_model(model)
        assert tokenizer.name == name
        assert not tokenizer.is_estimate

    @pytest.mark.parametrize(
        "model", ["claude-sonnet-4-5", "gemini-2.5-flash", "anthropic/claude-3.5-haiku", "llama3.2:1b"]
    )
    def test_other_makers_get_an_estimate_that_says_so(self, model):
        tokenizer = Tokenizer.for_model(model)
        assert tokenizer.is_estimate
        assert tokenizer.name == "estimate"
        assert tokenizer.count_tokens("x" * 401) == 101
        with pytest.raises(InvalidRequestError, match="an estimate has no tokens"):
            tokenizer.encode("x")

    @pytest.mark.parametrize("model", ["", "proto1", "gpt-6", "o4", "canada", "my-model"])
    def test_an_unknown_model_is_an_error_that_says_what_to_do(self, model):
        with pytest.raises(InvalidRequestError, match=r"for_encoding.*from_file.*estimate"):
            Tokenizer.for_model(model)

    def test_an_unknown_encoding_is_an_error_that_names_the_known(self):
        with pytest.raises(InvalidRequestError, match=", ".join(NAMES)):
            Tokenizer.for_encoding("o300k_base")


class TestSpecialTokens:
    LOOKALIKES = st.lists(
        st.sampled_from(["<|endoftext|>", "<|fim_prefix|>", "<|endofprompt|>", "<|start|>", "<|reserved_200013|>", "<|", "|>",
                         "<|reserved_0200013|>", "<|reserved_200002|>", "<|endoftext", "endoftext|>", "a", "é", " "])
    ).map("".join)  # fmt: skip
    SETS = st.just("all") | st.sets(
        st.sampled_from(["<|endoftext|>", "<|fim_prefix|>", "<|start|>", "<|reserved_200013|>", "a", "é "])
    )

    @pytest.mark.parametrize("name", NAMES)
    @given(text=LOOKALIKES, allowed=SETS, disallowed=SETS)
    def test_allowed_and_refused_as_tiktoken_does(self, name, text, allowed, disallowed):
        arguments = {"allowed_special": allowed, "disallowed_special": disallowed}
        ours = Tokenizer.for_encoding(name)
        try:
            theirs = encoding(name).encode(text, **arguments)
        except ValueError:
            with pytest.raises(InvalidRequestError, match="disallowed"):
                ours.encode(text, **arguments)
        else:
            assert ours.encode(text, **arguments) == theirs

    def test_refused_by_default_and_text_to_the_counter(self):
        tokenizer = Tokenizer.for_encoding("o200k_base")
        with pytest.raises(InvalidRequestError, match=r"'?\"?<\|endoftext\|>.*allowed_special"):
            tokenizer.encode("a<|endoftext|>b")
        assert tokenizer.encode("<|endoftext|>", allowed_special={"<|endoftext|>"}) == [199999]
        assert (
            tokenizer.count_tokens("<|endoftext|>") == len(tokenizer.encode("<|endoftext|>", disallowed_special=())) > 1
        )

    def test_many_openings_take_linear_work(self):
        """Half a megabyte of openings; were each searched to the end of the text, this would take hours."""
        text = "<|" * 250_000
        tokenizer = Tokenizer.for_encoding("o200k_harmony")
        assert len(tokenizer.encode(text)) == tokenizer.count_tokens(text)

    @pytest.mark.parametrize("value", ["some", 3, [3]])
    def test_a_wrong_set_is_an_error(self, value):
        with pytest.raises(InvalidRequestError, match="allowed_special must be"):
            Tokenizer.for_encoding("o200k_base").encode("x", allowed_special=value)


class TestDecode:
    def test_bytes_within_a_character(self):
        tokenizer = Tokenizer.for_encoding("cl100k_base")
        tokens = tokenizer.encode("🏴‍☠️")
        assert len(tokens) > 1
        assert tokenizer.decode_bytes(tokens[:1]) == encoding("cl100k_base").decode_bytes(tokens[:1])
        assert "\ufffd" in tokenizer.decode(tokens[:1])
        assert tokenizer.decode(tokens[:1], errors="ignore") == ""
        with pytest.raises(UnicodeDecodeError):
            tokenizer.decode(tokens[:1], errors="strict")

    @pytest.mark.parametrize("token", [200019, 2**32 - 1])
    def test_no_token(self, token):
        with pytest.raises(InvalidRequestError, match=f"{token} is no token of o200k_base"):
            Tokenizer.for_encoding("o200k_base").decode([1, token])

    @given(tokens=st.lists(st.integers(0, 100_255), max_size=50))
    def test_any_tokens(self, tokens):
        assert Tokenizer.for_encoding("cl100k_base").decode(tokens) == encoding("cl100k_base").decode(tokens)


class TestCount:
    @given(text=texts, limit=st.integers(0, 60))
    def test_limit(self, text, limit):
        for tokenizer in (Tokenizer.for_encoding("o200k_base"), Tokenizer.estimate()):
            assert tokenizer.count_tokens(text, limit=limit) == min(tokenizer.count_tokens(text), limit + 1)

    @given(items=st.lists(texts, max_size=20), threads=st.none() | st.integers(0, 5))
    def test_batch(self, items, threads):
        tokenizer = Tokenizer.for_encoding("cl100k_base")
        assert tokenizer.count_batch(items, threads=threads) == [tokenizer.count_tokens(text) for text in items]

    def test_a_batch_large_enough_for_threads(self):
        tokenizer = Tokenizer.for_encoding("o200k_base")
        items = [lorem(20_000, seed) for seed in range(12)] + ["", "x"]
        expected = [tokenizer.count_tokens(text) for text in items]
        for threads in (None, 1, 2, 7):
            assert tokenizer.count_batch(items, threads=threads) == expected

    @pytest.mark.parametrize("wrong", ["text", [1], None])
    def test_a_batch_of_something_else(self, wrong):
        with pytest.raises(InvalidRequestError, match="list of texts"):
            Tokenizer.for_encoding("o200k_base").count_batch(wrong)

    @pytest.mark.parametrize("work", ["count_tokens", "count_batch", "encode", "truncate", "split"])
    def test_other_threads_run_meanwhile(self, work):
        """No switch is forced: another thread gets on only if the interpreter's lock is released."""
        tokenizer = Tokenizer.for_encoding("o200k_base")
        text = lorem(300_000)
        argument = [text] * 3 if work == "count_batch" else text
        more = {"truncate": [50_000], "split": [1000]}.get(work, [])
        keywords = {"encode": {"disallowed_special": ()}}.get(work, {})
        turns, ended, interval = [0], threading.Event(), sys.getswitchinterval()

        def turn():
            while not ended.is_set():
                turns[0] += 1
                time.sleep(0)

        other = threading.Thread(target=turn)
        sys.setswitchinterval(1000)
        try:
            other.start()
            while not turns[0]:
                time.sleep(0.001)
            before = turns[0]
            getattr(tokenizer, work)(argument, *more, **keywords)
            after = turns[0]
        finally:
            ended.set()
            sys.setswitchinterval(interval)
            other.join()
        assert after > before

    def test_estimates(self):
        assert [estimate_tokens("x" * n) for n in (0, 1, 4, 5, 400)] == [0, 1, 1, 2, 100]
        assert estimate_tokens("漢字漢字") == 1

    def test_if_needed(self):
        assert count_tokens_if_needed("x" * 10_000, "gpt-4o") is None
        assert count_tokens_if_needed("漢" * 10_000, "no such model") is None
        text = "word " * 2001
        assert count_tokens_if_needed(text, "gpt-4o") == Tokenizer.for_model("gpt-4o").count_tokens(text)
        assert count_tokens_if_needed("a b c", "gpt-4o", threshold=4) == 3
        with pytest.raises(InvalidRequestError, match="not known"):
            count_tokens_if_needed(text, "no such model")


class TestCut:
    @pytest.mark.parametrize("name", [*PATTERNS, "estimate"])
    @given(text=texts, max_tokens=st.integers(0, 40))
    def test_truncate(self, name, text, max_tokens):
        tokenizer = Tokenizer.estimate() if name == "estimate" else Tokenizer.for_encoding(name)
        start = tokenizer.truncate(text, max_tokens)
        assert text.startswith(start)
        assert tokenizer.count_tokens(start) <= max_tokens
        if tokenizer.count_tokens(text) <= max_tokens:
            assert start == text
        elif name != "estimate":
            # Nothing longer that ends where a token of the text does, and is whole, fits.
            tokens = encoding(name).encode_ordinary(text)
            for n in range(max_tokens, 0, -1):
                longer = encoding(name).decode_bytes(tokens[:n])
                if len(longer) <= len(start.encode()):
                    break
                try:
                    assert tokenizer.count_tokens(longer.decode()) > max_tokens
                except UnicodeDecodeError:
                    continue

    @pytest.mark.parametrize("name", [*PATTERNS, "estimate"])
    @given(text=texts, max_tokens=st.integers(8, 40), overlap=st.integers(0, 39))
    def test_split(self, name, text, max_tokens, overlap):
        tokenizer = Tokenizer.estimate() if name == "estimate" else Tokenizer.for_encoding(name)
        if overlap >= max_tokens:
            with pytest.raises(InvalidRequestError, match=r"overlap .* must be smaller than max_tokens"):
                tokenizer.split(text, max_tokens, overlap)
            return
        chunks = tokenizer.split(text, max_tokens, overlap)
        assert all(chunks)
        assert all(tokenizer.count_tokens(chunk) <= max_tokens for chunk in chunks)
        if overlap == 0:
            assert "".join(chunks) == text
            return
        # Each chunk starts where the one before allows it, and adds something: wherever that may be in a text that
        # repeats itself.
        places = {(-1, 0)}
        for chunk in chunks:
            places = {
                (start, start + len(chunk))
                for before, done in places
                for start in range(before + 1, done + 1)
                if text.startswith(chunk, start) and start + len(chunk) > done
            }
            assert places
        assert not chunks or max(done for _, done in places) == len(text)

    def test_overlap_is_the_end_of_the_chunk_before(self):
        tokenizer = Tokenizer.for_encoding("o200k_base")
        text = " ".join(f"word{n}" for n in range(300))
        chunks = tokenizer.split(text, 50, 10)
        for before, after in itertools.pairwise(chunks):
            shared = tokenizer.decode(tokenizer.encode(before)[-10:])
            assert after.startswith(shared)
        assert len(chunks) == pytest.approx(tokenizer.count_tokens(text) / 40, abs=2)

    def test_a_character_of_more_tokens_than_allowed(self):
        tokenizer = Tokenizer.for_encoding("r50k_base")
        assert tokenizer.count_tokens("𓀀") > 2
        assert tokenizer.truncate("𓀀𓀀", 2) == ""
        with pytest.raises(InvalidRequestError, match="alone has more than max_tokens"):
            tokenizer.split("a𓀀", 2)
        assert "".join(tokenizer.split("a𓀀" * 9, 5)) == "a𓀀" * 9

    @pytest.mark.parametrize("max_tokens", [-1, 1.5, True, "8", None])
    def test_wrong_numbers(self, max_tokens):
        tokenizer = Tokenizer.for_encoding("o200k_base")
        for call in (tokenizer.truncate, tokenizer.split):
            with pytest.raises(InvalidRequestError, match="max_tokens must be a whole number"):
                call("text", max_tokens)

    def test_no_tokens_at_all(self):
        tokenizer = Tokenizer.for_encoding("o200k_base")
        assert tokenizer.split("", 1) == []
        assert tokenizer.truncate("text", 0) == ""
        with pytest.raises(InvalidRequestError, match="at least 1"):
            tokenizer.split("text", 0)


def cookbook(name, messages, tools=()):
    """The OpenAI Cookbook's formula, with tiktoken."""
    count = lambda text: len(encoding(name).encode_ordinary(text))  # noqa: E731
    total = 3
    for message in messages:
        total += 3 + sum(count(value) + (key == "name") for key, value in message.items())
    for tool in tools:
        function = tool["function"]
        total += 10 if name == "cl100k_base" else 7
        total += count(function["name"] + ":" + function["description"].removesuffix("."))
        properties = function["parameters"]["properties"]
        total += 3 if properties else 0
        for key, value in properties.items():
            total += 3
            if "enum" in value:
                total += sum(3 + count(item) for item in value["enum"]) - 3
            total += count(f"{key}:{value['type']}:{value['description'].removesuffix('.')}")
    return total + (12 if tools else 0)


class TestMessages:
    MESSAGES = st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "system"]), "content": worded_text.filter(bool)},
            optional={"name": st.sampled_from(["ann", "bob_2"])},
        ),
        min_size=1,
        max_size=5,
    ).map(lambda messages: [*messages, {"role": "user", "content": "?"}])
    PROPERTY = st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer"]), "description": st.sampled_from(["", "A place.", "in °C"])},
        optional={"enum": st.lists(st.sampled_from(["celsius", "fahrenheit", "x"]), min_size=1)},
    )
    TOOLS = st.lists(
        st.builds(
            lambda name, description, properties: {
                "type": "function",
                "function": {
                    "name": name,
                    "description": description,
                    "parameters": {"type": "object", "properties": properties},
                },
            },
            st.sampled_from(["weather", "get_time"]),
            st.sampled_from(["Tells the weather.", "time"]),
            st.dictionaries(st.sampled_from(["city", "unit"]), PROPERTY),
        ),
        max_size=3,
    )

    @pytest.mark.parametrize(("model", "name"), [("gpt-4o", "o200k_base"), ("gpt-4", "cl100k_base")])
    @given(messages=MESSAGES, tools=TOOLS)
    def test_the_published_formula(self, model, name, messages, tools):
        tokenizer = Tokenizer.for_model(model)
        assert tokenizer.count_messages(messages, tools=tools) == cookbook(name, messages, tools)
        assert tokenizer.count_messages([ChatMessage.from_dict(item) for item in messages], tools) == cookbook(
            name, messages, tools
        )

    def test_reasoning_models_bill_one_token_less(self):
        message = [{"role": "user", "content": "Hello!"}]
        assert Tokenizer.for_model("gpt-5-mini").count_messages(message) == cookbook("o200k_base", message) - 1

    def test_calls_results_and_images(self):
        tokenizer = Tokenizer.for_model("gpt-4o")
        count = tokenizer.count_tokens
        call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
        asked = {"role": "user", "content": "Add!"}
        called = {"role": "assistant", "content": None, "tool_calls": [call]}
        base = tokenizer.count_messages([asked])
        one = tokenizer.count_messages([asked, called])
        assert one - base == 3 + 1 + 7 + count("add") + count('{"a":1}')
        two = tokenizer.count_messages([asked, {**called, "tool_calls": [call, {**call, "id": "2"}]}])
        assert two - one == 17 + 7 + count("add") + count('{"a":1}')
        result = {"role": "tool", "tool_call_id": "1", "content": "two words"}
        assert tokenizer.count_messages([asked, called, result]) - one == 3 + 1 + 2
        for detail, tokens in (("low", 85), ("high", 765)):
            image = {"type": "image_url", "image_url": {"url": "https://a.b/c.png", "detail": detail}}
            assert (
                tokenizer.count_messages([{"role": "user", "content": [{"type": "text", "text": "Add!"}, image]}])
                == base + tokens
            )

    def test_estimates_and_texts(self):
        tokenizer = Tokenizer.for_model("claude-sonnet-4-5")
        assert tokenizer.count_messages("12345678") == 3 + 3 + 1 + 2
        with pytest.raises(InvalidRequestError, match="no message"):
            tokenizer.count_messages([])

    @recordings.needs_recordings
    def test_what_was_billed(self):
        """Plain messages to OpenAI's models: the tokens that it billed, to the token; with tools, nearly."""
        plain, tooled = [], []
        for exchange in recordings.exchanges():
            if exchange.wire != "openai.chat" or exchange.status != 200 or exchange.stream:
                continue
            request = exchange.request
            billed = (json.loads(exchange.body).get("usage") or {}).get("prompt_tokens")
            model = request.get("model", "")
            known = model.startswith(("gpt-3.5", "gpt-4", "gpt-5", "o1", "o3", "o4"))
            parts = [
                part
                for item in request.get("messages", [])
                if isinstance(item.get("content"), list)
                for part in item["content"]
            ]
            if not billed or not known or "response_format" in request or any(part["type"] != "text" for part in parts):
                continue
            counted = Tokenizer.for_model(model).count_messages(request["messages"], request.get("tools"))
            calls = any(item["role"] == "tool" or item.get("tool_calls") for item in request["messages"])
            (tooled if calls or request.get("tools") else plain).append((counted - billed, billed, request))
        exact = [request for difference, _, request in plain if difference == 0]
        assert len(plain) > 50
        assert len(exact) >= 0.95 * len(plain)
        assert len(tooled) > 20
        near = [request for difference, billed, request in tooled if abs(difference) <= max(12, 0.12 * billed)]
        assert len(near) >= 0.9 * len(tooled)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A small byte-pair vocabulary, with truncation and padding switched on as some files have it."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([lorem(20_000)], trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


class TestFile:
    def test_counts_encodes_and_decodes(self, path):
        tokenizer = Tokenizer.from_file(path)
        theirs = tokenizers.Tokenizer.from_file(str(path))
        theirs.no_truncation()
        theirs.no_padding()
        for text in (lorem(3000), "", "hello", "a<s>b"):
            expected = theirs.encode(text.replace("<s>", "<s\u200b>"), add_special_tokens=False)
            if "<s>" not in text:
                assert tokenizer.encode(text) == expected.ids
                assert tokenizer.decode(expected.ids) == text
            assert tokenizer.count_tokens(text) == len(tokenizer.encode(text, disallowed_special=()))
        assert tokenizer.special_tokens == {"<s>": 0, "</s>": 1}
        assert tokenizer.encode("a<s>b", allowed_special="all") == [*tokenizer.encode("a"), 0, *tokenizer.encode("b")]
        assert tokenizer.count_tokens("a<s>b") > 3
        with pytest.raises(InvalidRequestError, match="disallowed"):
            tokenizer.encode("a<s>b")
        assert not tokenizer.is_estimate
        assert tokenizer.count_batch(["hello", "x"]) == [tokenizer.count_tokens("hello"), 1]
        assert tokenizer.count_tokens(lorem(3000), limit=7) == 8
        assert tokenizer.decode_bytes(tokenizer.encode("é")) == "é".encode()
        assert tokenizer.count_messages("hello") == 3 + 3 + tokenizer.count_tokens("user") + tokenizer.count_tokens(
            "hello"
        )

    def test_cuts(self, path):
        tokenizer = Tokenizer.from_file(path)
        text = lorem(2000) + "   "
        start = tokenizer.truncate(text, 100)
        assert text.startswith(start)
        assert 90 <= tokenizer.count_tokens(start) <= 100
        chunks = tokenizer.split(text, 50)
        assert "".join(chunks) == text
        assert all(tokenizer.count_tokens(chunk) <= 50 for chunk in chunks)
        with pytest.raises(InvalidRequestError, match="overlap"):
            tokenizer.split(text, 50, 50)

    def test_pickles(self, path):
        tokenizer = Tokenizer.from_file(path)
        assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer

    def test_no_file(self, tmp_path):
        with pytest.raises(ConfigurationError, match="is no tokenizer file"):
            Tokenizer.from_file(tmp_path / "tokenizer.json")

    def test_without_the_package(self, path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(ConfigurationError, match=r"edgequake-llm\[tokenizers\]"):
            Tokenizer.from_file(path)


class TestObjects:
    def test_copies_equality_and_looks(self):
        for tokenizer, looks in (
            (Tokenizer.for_encoding("gpt2"), 'Tokenizer.for_encoding("r50k_base")'),
            (Tokenizer.for_model("gpt-5"), 'Tokenizer.for_model("gpt-5")'),
            (Tokenizer.for_model("claude-x"), 'Tokenizer.for_model("claude-x")'),
            (Tokenizer.estimate(), "Tokenizer.estimate()"),
        ):
            copy = pickle.loads(pickle.dumps(tokenizer))
            assert copy == tokenizer
            assert hash(copy) == hash(tokenizer)
            assert repr(copy) == looks
        assert Tokenizer.for_model("gpt-4o") == Tokenizer.for_encoding("o200k_base")
        assert Tokenizer.for_encoding("o200k_harmony") != Tokenizer.for_encoding("o200k_base")
        assert Tokenizer.for_model("claude-x") == Tokenizer.estimate()
        assert Tokenizer.estimate() != "estimate"

    def test_memory(self):
        """Far less than tiktoken's 70 MB, which benches/bench_tokenizer.py measures."""
        sizes = [Tokenizer.for_encoding(name)._memory() for name in NAMES]
        assert max(sizes) < 12 << 20
        assert Tokenizer.estimate()._memory() == 0


LAZY = """
import edgequake_llm
from edgequake_llm import Tokenizer
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
Tokenizer.estimate().count_tokens("x"), Tokenizer.for_model("gpt-4o"), Tokenizer.for_encoding("cl100k_base")
before = resident()
all = [Tokenizer.for_model("gpt-4o") for _ in range(1000)] + [Tokenizer.for_encoding("cl100k_base")]
made = resident()
all[0].count_tokens("hello")
loaded = resident()
[tokenizer.count_tokens("hello") for tokenizer in all[:1000]]
print(made - before, loaded - made, resident() - loaded)
"""

THREADS = """
import threading
from edgequake_llm import Tokenizer
counts, ready = [], threading.Barrier(8)
def count():
    tokenizer = Tokenizer.for_encoding("o200k_base")
    ready.wait()
    counts.append(tokenizer.count_tokens("hello world"))
threads = [threading.Thread(target=count) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*counts)
"""

FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
from edgequake_llm import Tokenizer
if sys.argv[1] == "loaded":
    Tokenizer.for_encoding("o200k_base").count_tokens("x")
child = os.fork()
count = sum(Tokenizer.for_encoding("o200k_base").count_batch(["hello world " * 9000] * 4))
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0
print(count, flush=True)
os._exit(ended)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, forks")
class TestProcesses:
    def test_nothing_is_loaded_before_the_first_count_and_then_once(self):
        made, loaded, again = map(int, processes.run(LAZY).split())
        assert made < 2 << 20
        assert 4 << 20 < loaded < 20 << 20
        assert again < 2 << 20

    def test_the_first_count_in_many_threads(self):
        assert processes.run(THREADS).split() == ["2"] * 8

    @pytest.mark.parametrize("state", ["loaded", "fresh"])
    def test_a_forked_child(self, state):
        counts = processes.run(FORK, state).split()
        assert len(counts) == 2
        assert counts[0] == counts[1]
