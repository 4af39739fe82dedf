"""The last words of a program, whatever has become of its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.adapters.owned_process import OwnedProcess


@pytest.fixture
def ended(tmp_path: Path) -> OwnedProcess:
    (tmp_path / "log").write_text("of a run before\n" * 100)
    process = OwnedProcess("worker", ["/bin/sh", "-c", "echo out of luck"], log=tmp_path / "log")
    process.start(folder=tmp_path)
    assert process.ended.wait(20.0)
    return process


def test_they_are_those_of_this_run(ended: OwnedProcess, tmp_path: Path) -> None:
    assert ended.last_words() == f"; its last words (log in {tmp_path}):\n  out of luck"


def test_a_log_that_was_taken_away_is_told(ended: OwnedProcess, tmp_path: Path) -> None:
    (tmp_path / "log").unlink()
    assert ended.last_words() == f"; its log {tmp_path / 'log'} was taken away"


def test_a_log_that_was_begun_anew_is_read_from_its_beginning(ended: OwnedProcess, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("anew")
    assert ended.last_words().endswith("\n  anew")
