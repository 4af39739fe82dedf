"""Commands that are proposed must work where they are pasted: the right name, and a segment that has members."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from streams.cli import advice
from streams.cli.replay import advice_lines
from streams.runtime.summary import SegmentSummary, Summary


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an environment in it that is not active."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    return tmp_path


def test_a_command_on_the_path_is_called_by_its_name(somewhere: Path) -> None:
    executable(somewhere / "bin/tideline")
    executable(somewhere / ".venv/bin/activate")
    assert (advice.command(), advice.activation()) == ("tideline", None)


def test_a_command_of_an_environment_that_is_not_active_is_called_by_its_path(somewhere: Path) -> None:
    executable(somewhere / ".venv/bin/tideline")
    executable(somewhere / ".venv/bin/activate")
    assert advice.command() == ".venv/bin/tideline"
    assert advice.activation() == "source .venv/bin/activate"
    assert advice_lines(["x"])[-1] == "  [dim]source .venv/bin/activate puts tideline on your path[/dim]"


def test_from_another_directory_the_whole_path_is_given(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(somewhere / ".venv/bin/tideline")
    other = somewhere / "a b"
    other.mkdir()
    monkeypatch.chdir(other)
    assert advice.command() == f"{somewhere}/.venv/bin/tideline"


def test_without_a_script_the_module_is_started(somewhere: Path) -> None:
    assert somewhere.is_dir()
    assert advice.command() == ".venv/bin/python -m streams"
    assert advice.activation() is None


def test_a_segment_that_is_proposed_has_members() -> None:
    segments = [SegmentSummary(name, name, members, None) for name, members in (("a", 0), ("b", 9), ("c", 3))]
    summary = cast("Summary", SimpleNamespace(segments=segments))
    assert advice.segment_to_try(summary, "b") == "b"
    assert advice.segment_to_try(summary, "a", "b") == "b"
    assert advice.segment_to_try(summary, "a") == "c"
    assert advice.segment_to_try(cast("Summary", SimpleNamespace(segments=segments[:1])), "a") is None
