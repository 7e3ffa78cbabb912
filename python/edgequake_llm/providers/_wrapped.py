"""`Wrapped`: what a provider with something put around it is: again a provider, over the same native core."""

from __future__ import annotations

from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm.providers._base import Provider, SyncCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgequake_llm import _core


class Wrapped(Provider):
    """A provider around another one, `inner`.

    What is put around is a layer of the core, and in the native core but for hooks: every call, option and stream
    passes through unchanged, and whatever `inner` offers besides is there under the same name. Closing it closes the
    inner one.
    """

    __slots__ = {"inner": "The provider that this one is around."}

    def __init__(self, inner: Provider, core: _core.Provider) -> None:
        self.inner = inner
        self._core = core
        self.sync = _SyncCalls(core, inner.sync)

    @staticmethod
    def _inner(provider: object) -> Provider:
        if not isinstance(provider, Provider):
            raise ConfigurationError(f"only providers of this library can be wrapped, not {type(provider).__name__}")
        return provider

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "inner":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.inner, name)

    async def aclose(self) -> None:
        """Close this provider and the inner one."""
        self._core.close()
        await self.inner.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


class _SyncCalls(SyncCalls):
    """The same calls without an event loop, and what `inner.sync` offers besides."""

    __slots__ = ("_inner",)

    def __init__(self, core: _core.Provider, inner: SyncCalls) -> None:
        super().__init__(core)
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._inner, name)
