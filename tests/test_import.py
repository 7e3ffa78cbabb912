"""Importing the package: at once, with nothing started, and of one version."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import subprocess
import sys

import tomllib  # the tests need Python 3.11, the package 3.10

import edgequake_llm

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Each costs a good part of what all of edgequake_llm may cost. (Without `site`, so that nobody else brings them.)
HEAVY = [
    "asyncio",
    "concurrent",
    "ctypes",
    "dataclasses",
    "email",
    "http",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "numpy",
    "re",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "typing_extensions",
    "urllib",
]

PROBE = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
before = set(sys.modules)
import edgequake_llm
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "threads": sorted(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else [""],
    "sockets": [
        target for number in (os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else [])
        if os.path.lexists(path := f"/proc/self/fd/{number}") and (target := os.readlink(path)).startswith("socket")
    ],
    "names": sorted(vars(edgequake_llm)),
}))
"""


def probe():
    # -S and -I: what the interpreter's own start-up brings would hide what we bring.
    package = str(pathlib.Path(edgequake_llm.__file__).parents[1])
    command = [sys.executable, "-I", "-S", "-c", PROBE, json.dumps([package])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def test_importing_starts_nothing_and_brings_nothing_heavy():
    seen = probe()
    assert len(seen["threads"]) == 1
    assert seen["sockets"] == []
    assert [name for name in HEAVY if name in seen["modules"]] == []
    ours = [name for name in seen["modules"] if not name.startswith("edgequake_llm")]
    assert len(ours) < 25, ours


def test_there_is_one_version():
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert edgequake_llm.__version__ == cargo
    assert importlib.metadata.version("edgequake-llm") == cargo


def test_the_package_needs_no_other():
    needed = importlib.metadata.requires("edgequake-llm") or []
    assert [name for name in needed if "extra ==" not in name] == []


def test_all_names_are_there_and_nothing_private_is_public():
    assert sorted(edgequake_llm.__all__) == sorted(set(edgequake_llm.__all__))
    for name in edgequake_llm.__all__:
        assert hasattr(edgequake_llm, name), name
    namespace = {}
    exec("from edgequake_llm import *", namespace)
    assert set(edgequake_llm.__all__) <= namespace.keys()


def test_public_classes_say_that_they_live_in_the_package():
    """Pickles and tracebacks should name what people can import."""
    for name in edgequake_llm.__all__:
        thing = getattr(edgequake_llm, name)
        if isinstance(thing, type):
            assert thing.__module__.startswith("edgequake_llm"), name
            assert not thing.__module__.startswith("edgequake_llm._core"), name


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "edgequake_llm", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"edgequake-llm {edgequake_llm.__version__}\n")
