"""JSON schemas of Python types, and the way back from JSON to values of those types.

What is needed to look into types (`inspect`, `typing`, `dataclasses`, ...) is imported only when a schema is made.
"""

from edgequake_llm.schema._json import to_json
from edgequake_llm.schema._nulls import without_nulls
from edgequake_llm.schema._shape import Mismatch, Shape
from edgequake_llm.schema._signature import Signature, signature_of
from edgequake_llm.schema._types import is_data, shape_of

__all__ = ["Mismatch", "Shape", "Signature", "is_data", "shape_of", "signature_of", "to_json", "without_nulls"]
