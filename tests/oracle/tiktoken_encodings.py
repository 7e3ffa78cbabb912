"""tiktoken's own encodings, without its downloads: their vocabularies are ours, if they have the hashes it publishes."""

from __future__ import annotations

import base64
import functools
import hashlib
import pathlib

import tiktoken
from tiktoken_ext import openai_public

from edgequake_llm import Tokenizer

NAMES = ("o200k_base", "o200k_harmony", "cl100k_base", "p50k_base", "p50k_edit", "r50k_base")


def _load(address: str, expected_hash: str) -> dict[bytes, int]:
    """The file that tiktoken would download, rebuilt from our tokens; every byte of it is in the hash."""
    name = address.rsplit("/", 1)[-1].removesuffix(".tiktoken")
    ranks = Tokenizer.for_encoding(name)._ranks()
    assert hashlib.sha256(_file(ranks)).hexdigest() == expected_hash, (
        f"the vocabulary of {name} is not the published one"
    )
    return ranks


def _file(ranks: dict[bytes, int]) -> bytes:
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())


def fill_cache(folder: pathlib.Path, name: str) -> None:
    """Put an encoding's file where tiktoken would have kept it after its download (TIKTOKEN_CACHE_DIR)."""

    def keep(address: str, expected_hash: str) -> dict[bytes, int]:
        ranks = _load(address, expected_hash)
        (folder / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()).write_bytes(_file(ranks))
        return ranks

    original, openai_public.load_tiktoken_bpe = openai_public.load_tiktoken_bpe, keep
    try:
        getattr(openai_public, name)()
    finally:
        openai_public.load_tiktoken_bpe = original


@functools.cache
def encoding(name: str) -> tiktoken.Encoding:
    """The encoding of that name, made by tiktoken from tiktoken's definition."""
    original, openai_public.load_tiktoken_bpe = openai_public.load_tiktoken_bpe, _load
    try:
        return tiktoken.Encoding(**getattr(openai_public, name)())
    finally:
        openai_public.load_tiktoken_bpe = original
