"""What the model of `tiny_model` says, apart from it, as it needs packages that only its server's environment has."""

SENTENCE = "Once upon a time there stood some café by the sea."
PIECES = ("▁Once", "▁upon", "▁a", "▁time", "▁there", "▁stood", "▁some", "▁caf", 0xC3, 0xA9, "▁by", "▁the", "▁sea", ".")
"""The sentence in tokens. Numbers are bytes: of the é, each half is a token, as in the vocabularies of real models."""
TOKENS = len(PIECES)
EMBED = 64
"""The length of its vectors."""
