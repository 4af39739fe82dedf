"""How far the first pass over files is, also over broken ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from streams.adapters import file_source
from streams.adapters.files import open_log
from tests.unit.decode_world import SIMPLE_CSV, catalog
from tests.unit.test_files import MANY, NOW_S


@pytest.mark.parametrize("harm", ["cut", "middle", "sum", "garbage"])
def test_a_broken_gzip_counts_in_full_towards_the_end(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "BLOCK_BYTES", 700)
    packed = bytearray(gzip.compress(MANY.encode(), mtime=0))
    if harm == "cut":
        del packed[len(packed) // 2 :]
    elif harm == "middle":
        packed[len(packed) // 2] ^= 0xFF
    elif harm == "sum":
        packed[-8] ^= 0xFF
    else:
        packed += b"garbage" * 1_000
    paths = [tmp_path / "a.csv.gz", tmp_path / "b.csv"]
    paths[0].write_bytes(packed)
    paths[1].write_text("user,time,value\nx,2024-01-01,1\n")
    total = sum(path.stat().st_size for path in paths)
    seen: list[tuple[int, int]] = []
    with open_log(paths, catalog(SIMPLE_CSV), NOW_S, progress=lambda done, of: seen.append((done, of))) as log:
        assert log.files[0].damage is not None
    assert seen == sorted(seen)
    assert len(packed) in {done for done, _ in seen}
    assert (seen[-1], {of for _, of in seen}) == ((total, total), {total})
