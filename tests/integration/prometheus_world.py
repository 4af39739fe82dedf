"""A real Prometheus over a service: asked by its own API, with the service's rules at a faster clock."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from benchmarks._ports import free_port
from streams.adapters.owned_process import OwnedProcess
from tests.conftest import SLOWNESS, need
from tests.unit.test_alerts import GROUPS

FASTER_FOR: Final = 120
"""An alert that has to hold for two minutes has to hold for a second here, and for two at least;"""
FASTER_RANGE: Final = 20
"""rates over a minute are over three seconds, of as many scrapes,"""
FASTER_OFFSET: Final = 120
"""and an hour ago is half a minute ago."""
LOWER: Final[Mapping[str, tuple[str, str]]] = {"TidelineEventsWait": ("> 300", "> 3")}
"""Alert -> its threshold, and the one here: who waits for minutes is late by seconds first."""
_RANGE: Final = re.compile(r"\[(\d+)([smhd])\]")
_OFFSET: Final = re.compile(r"\boffset (\d+)([smhd])\b")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def faster_rules(faster_for: int = FASTER_FOR) -> dict[str, Any]:
    """The rules as they are, but for how long something has to last, over how long rates are taken, and `LOWER`."""
    return {
        "groups": [
            {"name": group["name"], "rules": [faster_rule(rule, faster_for) for rule in group["rules"]]}
            for group in GROUPS
        ]
    }


def faster_rule(rule: Mapping[str, Any], faster_for: int = FASTER_FOR) -> dict[str, Any]:
    """One of them."""
    expr = _OFFSET.sub(_faster_offset, _RANGE.sub(_faster_range, rule["expr"]))
    if rule.get("alert") in LOWER:
        threshold, lower = LOWER[rule["alert"]]
        assert expr.count(threshold) == 1, rule["alert"]
        expr = expr.replace(threshold, lower)
    found = {**rule, "expr": expr}
    if "for" in rule:
        found["for"] = f"{max(2, _seconds(rule['for']) // faster_for)}s"
    return found


def _faster_range(found: re.Match[str]) -> str:
    return f"[{max(3, int(found[1]) * _SECONDS[found[2]] // FASTER_RANGE)}s]"


def _faster_offset(found: re.Match[str]) -> str:
    return f"offset {max(1, int(found[1]) * _SECONDS[found[2]] // FASTER_OFFSET)}s"


def _seconds(text: str) -> int:
    return int(text[:-1]) * _SECONDS[text[-1]]


class Prometheus:
    """One that runs, with its files in `folder`."""

    def __init__(self, port: int, folder: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._folder = folder

    def aim(self, job: str, *addresses: str) -> None:
        """From now on the job has these targets, as if a name had these addresses now."""
        aim(self._folder, job, addresses)

    def ask(self, path: str, **parameters: str) -> Any:
        """What it answers; None while it does not."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=10 * SLOWNESS) as reply:
                found = msgspec.json.decode(reply.read())
        except (urllib.error.URLError, ConnectionError):
            return None
        assert found["status"] == "success"
        return found["data"]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with how it went the last time."""
        found = self.ask("rules") or {"groups": []}
        return [rule for group in found["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Alerts whose condition has held for long enough."""
        return {rule["name"] for rule in self.rules() if rule.get("state") == "firing"}

    def jobs_told(self, alert: str) -> set[str]:
        """The jobs about which an alert fires."""
        alerts = (each for rule in self.rules() if rule["name"] == alert for each in rule["alerts"])
        return {each["labels"].get("job", "") for each in alerts if each["state"] == "firing"}

    def up(self) -> set[str]:
        """The jobs whose targets answered the last time."""
        found = self.ask("targets") or {"activeTargets": []}
        return {each["labels"]["job"] for each in found["activeTargets"] if each["health"] == "up"}

    def has_data(self, query: str) -> bool:
        """Whether a query has a result, with a number in it."""
        found = self.ask("query", query=query)
        return found is not None and any(sample["value"][1] != "NaN" for sample in found["result"])


def aim(folder: Path, job: str, addresses: Sequence[str]) -> None:
    """Write a job's targets, at once: Prometheus looks when the file changes."""
    written = folder / f"{job}.new"
    written.write_bytes(msgspec.json.encode([{"targets": list(addresses)}]))
    written.replace(folder / f"{job}.json")


@contextmanager
def prometheus(
    folder: Path,
    targets: Mapping[str, Sequence[str]],
    api: tuple[str, str] | None = None,
    *,
    faster_for: int = FASTER_FOR,
) -> Iterator[Prometheus]:
    """It scrapes all every second. `targets`: job -> addresses. `api`: its address and key, where there is one."""
    program = shutil.which("prometheus")
    need(program, "prometheus", "apt-get install prometheus")
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump(faster_rules(faster_for)))
    for job, addresses in targets.items():
        aim(folder, job, addresses)
    jobs: list[dict[str, Any]] = [
        {"job_name": job, "file_sd_configs": [{"files": [str(folder / f"{job}.json")]}]} for job in targets
    ]
    if api is not None:
        address, key = api
        (file := folder / "api.key").write_text(key)
        credentials = {"credentials_file": str(file)}
        jobs.append(
            {
                "job_name": "tideline-api",
                "authorization": credentials,
                "static_configs": [{"targets": [address]}],
            }
        )
    often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": often, "rule_files": [str(rules)], "scrape_configs": jobs}))
    port = free_port()
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=warn"]
    process = OwnedProcess(
        "prometheus", [str(program), *options, f"--web.listen-address=127.0.0.1:{port}"], log=folder / "prometheus.log"
    )
    process.start(folder=folder)
    try:
        yield Prometheus(port, folder)
    finally:
        process.stop(20)
