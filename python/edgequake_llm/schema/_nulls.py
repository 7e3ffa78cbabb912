"""Undoes what strict modes do to optional fields: they have every field filled in, null standing for one left out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value without the nulls that stand for optional fields which do not take null themselves."""
    return _clean(value, schema, schema)


def _clean(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    schema = _resolved(schema, root)
    if isinstance(value, list):
        items = schema.get("items")
        return [_clean(item, items, root) for item in value] if isinstance(items, dict) else value
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        more = schema.get("additionalProperties")
        return {key: _clean(item, more, root) for key, item in value.items()} if isinstance(more, dict) else value
    required = schema.get("required", ())
    kept = {}
    for key, item in value.items():
        field = properties.get(key, {})
        if item is None and key in properties and key not in required and not _takes_null(field, root):
            continue
        kept[key] = _clean(item, field, root)
    return kept


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and go into a union if only one member of it is no null."""
    for _ in range(16):
        if not isinstance(schema, dict):
            return {}
        if isinstance(reference := schema.get("$ref"), str):
            schema = _found(reference, root)
            continue
        members = [one for one in schema.get("anyOf") or schema.get("oneOf") or () if one != {"type": "null"}]
        if len(members) != 1:
            return schema
        schema = members[0]
    return {}


def _found(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found.get(step, {}) if isinstance(found, dict) else {}
    return found


def _takes_null(schema: Any, root: Mapping[str, Any]) -> bool:
    if isinstance(schema, dict) and isinstance(reference := schema.get("$ref"), str):
        schema = _found(reference, root)
    if not isinstance(schema, dict):
        return schema is not False
    members = schema.get("anyOf") or schema.get("oneOf")
    if members:
        return any(_takes_null(member, root) for member in members)
    if "enum" in schema:
        return None in schema["enum"]
    if "const" in schema:
        return schema["const"] is None
    kind = schema.get("type")
    return kind is None or kind == "null" or (isinstance(kind, list) and "null" in kind)
