"""The house rules that no linter checks."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def tracked():
    """The files of the repository; in an unpacked source distribution, all there are but what tools leave behind."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode == 0:
        return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    skipped = {"target", ".venv", "__pycache__", "dist"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)]


FILES = tracked()
SOURCES = [path for path in FILES if path.suffix in {".py", ".pyi", ".rs"} or path.read_bytes()[:2] == b"#!"]


def shown(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_each_source_file_opens_with_what_it_is_for(path):
    lines = path.read_text().splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    first = lines[0] if lines else ""
    opening = {".py": ('"""', 'r"""'), ".rs": ("//! ",)}.get(path.suffix, ("# ",))
    assert first.startswith(opening), f"line 1 is {first!r}"
    assert len(first) > len(opening[0]) + 10


def test_no_machine_path_is_in_the_tree():
    # Written so that this file does not match itself.
    pattern = re.compile(rb"(?<![\w./])/(?:home|Users|work|root)/[A-Za-z0-9_.-]+")
    found = {shown(path): pattern.findall(path.read_bytes()) for path in FILES if path.suffix != ".lock"}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_lock_files_are_there_and_pin_everything():
    assert (ROOT / "Cargo.lock") in FILES
    for path in [path for path in FILES if path.name.startswith("requirements") and path.suffix == ".txt"]:
        lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
        assert all("==" in line for line in lines if line), path


def test_the_only_version_is_in_cargo_toml():
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    for manifest in (ROOT / "rust").rglob("Cargo.toml"):
        assert "version.workspace = true" in manifest.read_text()


def test_the_core_knows_nothing_of_python():
    manifest = (ROOT / "rust/core/Cargo.toml").read_text()
    assert "pyo3" not in manifest
    for path in (ROOT / "rust/core/src").rglob("*.rs"):
        assert "pyo3::" not in path.read_text(), shown(path)


def test_what_runs_in_ci_is_what_people_run():
    ci = (ROOT / ".ci/run").read_text()
    assert "./tests/run" in ci
    assert "./tests/run" in (ROOT / "README.md").read_text()
    for script in (ROOT / ".ci/run", ROOT / "tests/run"):
        assert script.stat().st_mode & 0o111, shown(script)


def test_nothing_needs_typing_extensions_at_run_time():
    for path in (ROOT / "python").rglob("*.py"):
        checking = False
        for line in path.read_text().splitlines():
            if line.startswith(("if TYPE_CHECKING", "else")):
                checking = line.startswith("if TYPE_CHECKING")
            elif line and not line[0].isspace():
                checking = False
            if "import" in line and "typing_extensions" in line:
                assert checking, f"{shown(path)}: {line}"
