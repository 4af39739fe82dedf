"""The words about compiling are said when something is compiled, and only then."""

from __future__ import annotations

from pathlib import Path

import numba
import pytest

from streams.runtime import precompile
from tests.integration.shop_world import Notes

pytestmark = pytest.mark.timeout(300)


def test_with_a_warm_cache_nothing_is_said_and_nothing_done(monkeypatch: pytest.MonkeyPatch) -> None:
    precompile.precompile()
    assert precompile.is_compiled()
    monkeypatch.setattr(precompile, "precompile", lambda: pytest.fail("compiled without need"))
    watcher = Notes()
    precompile.get_ready(watcher)
    assert watcher.steps == []


@pytest.mark.parametrize("kept", [True, False])
def test_with_an_empty_cache_or_none_it_is_said(kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path) if kept else "")
    (tmp_path / "core_1").mkdir()
    (tmp_path / "core_1" / "kernel.advance-445.py311.1.nbc").touch()  # an earlier start was ended in the middle
    done: list[str] = []
    monkeypatch.setattr(precompile, "precompile", lambda: done.append("compiled"))
    watcher = Notes()
    precompile.get_ready(watcher)
    assert (watcher.steps, done) == ([precompile.WORDS], ["compiled"])
