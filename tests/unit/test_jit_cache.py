"""The cache of compiled functions, also where it cannot be written: in an image whose file system is read-only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

# A process has one cache, and takes it at its start. Nothing but a read-only file system keeps root from writing, so
# `os.access` says what it would say of one.
PROGRAM = """
import json, os, sys
asked, kind = os.access, sys.argv[2]
if sys.argv[1] == "read-only":
    os.access = lambda path, mode: mode != os.W_OK and asked(path, mode)
import numpy as np
from models import jit
assert jit.wide(getattr(np, kind)(7)) == 7
print(json.dumps({"cache": jit._CACHE, "found": sum(jit.wide.stats.cache_hits.values())}))
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources that nothing was compiled from yet."""
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(copy: Path, how: str, kind: str = "int16") -> Any:
    """Call a compiled function with a number of that kind."""
    command = [sys.executable, "-c", PROGRAM, how, kind]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kept(copy: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in copy.rglob("*.nb[ci]")}


def test_what_was_compiled_is_kept(copy: Path) -> None:
    assert run(copy, "writable") == {"cache": "kept", "found": 0}
    assert run(copy, "writable") == {"cache": "kept", "found": 1}


def test_what_was_kept_is_found_where_nothing_can_be_written(copy: Path) -> None:
    run(copy, "writable")
    before = kept(copy)
    assert before
    assert run(copy, "read-only") == {"cache": "found", "found": 1}
    assert run(copy, "read-only", "int8") == {"cache": "found", "found": 0}
    assert kept(copy) == before


def test_without_anything_kept_it_compiles_in_each_process(copy: Path) -> None:
    assert run(copy, "read-only") == {"cache": "none", "found": 0}
    assert kept(copy) == {}
