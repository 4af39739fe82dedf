"""What `--report` may be written over, and where: nothing is lost by it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.integration.shop_world import Shop
from tests.unit.test_cli import run

pytestmark = pytest.mark.timeout(300)  # the core may have to be compiled first


@pytest.fixture
def folder(shop: Shop, tmp_path: Path) -> Path:
    """With the shop's files, to be spoilt."""
    for name in ("events.ndjson", "catalog.yaml"):
        shutil.copy(shop.folder / name, tmp_path / name)
    os.link(tmp_path / "catalog.yaml", tmp_path / "link.html")
    (tmp_path / "sheet.html").write_bytes(b"PK\x03\x04 a spreadsheet")
    os.mkfifo(tmp_path / "pipe.html")
    return tmp_path


def replay(folder: Path, report: Path, *more: str) -> tuple[int, str, str]:
    where = ["--data-dir", str(folder / "new" / "data"), "--transitions", str(folder / "out.ndjson")]
    catalog = ["--catalog", str(folder / "catalog.yaml")]
    return run("replay", str(folder / "events.ndjson"), *catalog, *where, "--report", str(report), *more)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("events.ndjson", "is input"),
        ("new/../events.ndjson", "is input"),
        ("catalog.yaml", "is the catalog"),
        ("link.html", "is the catalog"),
        ("out.ndjson", "is the file of transitions"),
        ("sheet.html", "is no page of HTML"),
        ("pipe.html", "is no regular file"),
        ("none/r.html", "does not exist"),
    ],
)
def test_a_report_is_never_written_over_anything_else(folder: Path, name: str, words: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / "new").mkdir(exist_ok=True)
    code, _, err = replay(folder, folder / name)
    assert (code, words in err) == (3, True), err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert not (folder / "new" / "data").exists()


def test_a_report_may_go_into_the_data_directory_that_the_run_makes_and_be_written_again(folder: Path) -> None:
    report = folder / "new" / "data" / "report.html"
    code, _, err = replay(folder, report)
    assert code == 0, err
    assert report.read_text().startswith("<!doctype html")
    report.write_text("<!DOCTYPE html>older")
    code, _, err = replay(folder, report)
    assert code == 0, err
    assert report.read_text().startswith("<!doctype html><html")


def test_the_demo_asks_too(tmp_path: Path) -> None:
    mine = tmp_path / "report.html"
    mine.write_text("my own words")
    code, _, err = run("demo", "--data-dir", str(tmp_path))
    assert (code, "is no page of HTML" in err) == (3, True), err
    assert mine.read_text() == "my own words"
