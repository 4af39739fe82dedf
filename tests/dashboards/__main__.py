"""Write config/grafana/dashboards."""

from __future__ import annotations

from tests.dashboards.all import BOARDS, FOLDER

for board in BOARDS:
    (FOLDER / f"{board.uid}.json").write_text(board.to_json(), encoding="utf-8")
