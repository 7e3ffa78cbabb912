"""The stub agrees with the installed native module, everything public is documented, and the typed API checks."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys

import pytest

import edgequake_llm
from edgequake_llm import _core

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*command):
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=ROOT, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stub_and_module_agree():
    """No allowlist: what the stub says and what the module has are the same. The rest of the package has no stubs."""
    run("-m", "mypy.stubtest", "edgequake_llm._core", "--mypy-config-file", str(ROOT / "pyproject.toml"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_typed_api_checks_strictly():
    """tests/typing/api.py is never run; mypy must accept each line, and each ignore in it must be needed."""
    run("-m", "mypy", "--strict", "--warn-unused-ignores", "tests/typing/api.py")


def public(module):
    return [(name, getattr(module, name)) for name in module.__all__ if name != "__version__"]


@pytest.mark.parametrize(("name", "thing"), public(edgequake_llm) + public(_core))
def test_everything_public_is_documented(name, thing):
    assert inspect.getdoc(thing), name
    if not isinstance(thing, type):
        return
    if thing.__doc__ is None or thing.__doc__ == object.__doc__:
        pytest.fail(f"{name} has no docstring of its own")
    for attribute, value in vars(thing).items():
        if attribute.startswith("_") or issubclass(thing, BaseException):
            continue
        documented = inspect.isroutine(value) or inspect.isdatadescriptor(value) or isinstance(value, property)
        if documented and not inspect.ismemberdescriptor(value):
            assert (getattr(thing, attribute).__doc__ or getattr(value, "__doc__", "") or "").strip(), (
                f"{name}.{attribute}"
            )


def test_docstrings_are_not_repeated_by_the_stub():
    """They live in the Rust sources, so that help() shows them; a second copy would grow stale."""
    assert '"""' not in (ROOT / "python/edgequake_llm/_core.pyi").read_text()


def test_classes_of_the_core_refuse_to_be_made_by_hand_or_take_arguments():
    for name in ("Embeddings", "TextStream", "SyncTextStream", "RateLimits", "EventStream", "Citation"):
        with pytest.raises(TypeError, match="cannot create"):
            getattr(_core, name)()
