"""Makes a model of some 120,000 weights that llama.cpp takes: random, but for one sentence that it knows by heart.

It has llama's architecture: two layers of random weights, too faint to matter, between random embeddings and an output in
which each piece of the sentence is tied to the piece before it. So after a line's end it says the sentence (`tiny_sentence`) and stops, and
what a server makes of it can be compared with what it must be. Held to JSON by a grammar, it closes what it has opened.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import gguf
import numpy as np
from tiny_sentence import EMBED, PIECES

HEADS, FEED, LAYERS, CONTEXT = 4, 128, 2, 512
UNKNOWN, START, END = 0, 1, 2
BYTES = 3
"""Where the 256 bytes begin in the vocabulary; the pieces stand behind them."""


def token(piece: str | int) -> int:
    """The number of a piece or a byte."""
    if isinstance(piece, int):
        return BYTES + piece
    return BYTES + 256 + [other for other in PIECES if isinstance(other, str)].index(piece)


def write(path: Path, seed: int = 1) -> None:
    """Write the model as a GGUF file."""
    random = np.random.default_rng(seed)
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    texts += [piece for piece in PIECES if isinstance(piece, str)]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    kinds += [gguf.TokenType.NORMAL] * (len(texts) - len(kinds))

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBED)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(EMBED // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(texts))
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores([-float(number) for number in range(len(texts))])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(START)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)

    def weights(*shape: int, scale: float = 0.02) -> np.ndarray:
        return random.normal(0, scale, shape).astype(np.float32)

    embedding = weights(len(texts), EMBED, scale=1)
    output = weights(len(texts), EMBED)
    for before, after in _ties():
        output[after] += embedding[before] / np.linalg.norm(embedding[before])
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(EMBED, dtype=np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(EMBED, EMBED))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", weights(FEED, EMBED))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", weights(FEED, EMBED))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", weights(EMBED, FEED))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(EMBED, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _ties() -> list[tuple[int, int]]:
    """Which token is to follow which."""
    said = [token(ord("\n")), *(token(piece) for piece in PIECES), END]
    closing = [(ord('"'), ord('"')), (ord("{"), ord("}")), *((digit, ord("}")) for digit in b"0123456789")]
    return [*itertools.pairwise(said), *((token(before), token(after)) for before, after in closing)]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
