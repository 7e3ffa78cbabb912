"""`ContentPart`: pictures, documents and sounds as parts of a message.

ChatMessage.user(["What is in here?", ContentPart.image("photo.png"), ContentPart.document("report.pdf")])
"""

from __future__ import annotations

from edgequake_llm._exceptions import InvalidRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any, Literal, TypeAlias

    Source: TypeAlias = str | bytes | bytearray | memoryview | os.PathLike[str]
    """A URL (`https:`, `gs:`, `data:`), a path, or the bytes themselves."""

# The first bytes of a file tell its type. Source: the formats' own specifications.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AIFF", "audio/aiff"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypheix", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypM4A", "audio/mp4"),
    (0, b"BM", "image/bmp"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf2", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
)

_ENDINGS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
}


class ContentPart(dict[str, object]):
    """A part of a message's content: a dict in the common JSON form, so that it goes wherever one may stand.

    A source is a URL, which the provider fetches, a path, which is read at once, or the bytes. The type of bytes is
    told by their beginning, else by the file's ending; `media_type` says it where neither does. Each provider takes
    some types up to some size (docs/content-parts.md), which is checked before anything is sent.

    Raises `InvalidRequestError` for a type that is not known or another than the part's kind, and for an empty source;
    `OSError` for a file that cannot be read.
    """

    __slots__ = ()

    @classmethod
    def text(cls, text: str, *, cache: Literal["5m", "1h"] | bool = False) -> ContentPart:
        """Make a text. With `cache` the prompt may be cached up to here (Anthropic)."""
        part = cls(type="text", text=text)
        if cache:
            part["cache_control"] = {"type": "ephemeral"} if cache is True else {"type": "ephemeral", "ttl": cache}
        return part

    @classmethod
    def image(
        cls, source: Source, *, media_type: str | None = None, detail: Literal["low", "high", "auto"] | None = None
    ) -> ContentPart:
        """Make a picture. `detail` is how closely OpenAI looks at it."""
        url = _url(source, media_type, "image/")
        return cls(type="image_url", image_url={"url": url} if detail is None else {"url": url, "detail": detail})

    @classmethod
    def document(cls, source: Source, *, name: str | None = None, media_type: str | None = None) -> ContentPart:
        """Make a document: a PDF, or text. `name` is its file name or title; that of a path is taken by itself."""
        url = _url(source, media_type, ("application/", "text/"))
        if name is None and not isinstance(source, bytes | bytearray | memoryview) and not _is_url(source):
            name = _file_name(source)
        part = cls(type="document", source=_source(url))
        if name is not None:
            part["title"] = name
        return part

    @classmethod
    def audio(cls, source: Source, *, media_type: str | None = None) -> ContentPart:
        """Make a sound."""
        return cls(type="audio", source=_source(_url(source, media_type, "audio/")))

    @classmethod
    def file(cls, file_id: str, kind: Literal["image", "document"] = "document") -> ContentPart:
        """Refer to a file that was uploaded to the provider before."""
        return cls(type=kind, source={"type": "file", "file_id": file_id})

    def __repr__(self) -> str:
        kind = self.get("type", "?")
        if kind == "text":
            return f"ContentPart.text({self.get('text', '')!r})"
        source: Any = self.get("source") or self.get("image_url") or {}
        where = source.get("url") or source.get("file_id") or source.get("media_type", "")
        where = where.split(",", 1)[0] if where.startswith("data:") else where
        return f"<ContentPart {kind} {where}>"


def _is_url(source: object) -> bool:
    return isinstance(source, str) and source.startswith(("http://", "https://", "data:", "gs://", "files/"))


def _file_name(source: object) -> str:
    return str(source).replace("\\", "/").rsplit("/", 1)[-1]


def _url(source: Source, media_type: str | None, kinds: str | tuple[str, ...]) -> str:
    """Return the source's URL: its own, or a `data:` URL of its bytes."""
    if _is_url(source):
        return str(source)
    import base64
    import os

    name = ""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        name = _file_name(os.fspath(source))
        with open(source, "rb") as file:  # noqa: PTH123 - importing pathlib takes longer than most calls
            data = file.read()
    else:
        raise InvalidRequestError(f"a source is a URL, a path or bytes, not {type(source).__name__}")
    if not data:
        raise InvalidRequestError(f"{name or 'the source'} is empty")
    found = media_type or _type_of(data, name)
    if found is None:
        raise InvalidRequestError(f"the type of {name or 'these bytes'} is not known; give media_type=...")
    if not found.startswith(kinds):
        wanted = kinds if isinstance(kinds, str) else " or ".join(kinds)
        raise InvalidRequestError(f"{name or 'the source'} is {found}, not {wanted}*")
    return f"data:{found};base64,{base64.b64encode(data).decode()}"


def _source(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.partition(";base64,")
    return {"type": "base64", "media_type": head.removeprefix("data:"), "data": data}


def _type_of(data: bytes, name: str) -> str | None:
    for at, signature, media_type in _SIGNATURES:
        if data.startswith(signature, at):
            return media_type
    return _ENDINGS.get(name.rsplit(".", 1)[-1].lower()) if "." in name else None
