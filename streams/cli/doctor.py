"""`tideline doctor`: is everything as a service needs it, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import DataDir, Embedded, Json, Store, chosen_log, find_place
from streams.cli.screen import echo_json, guarded, show

if TYPE_CHECKING:
    from config.settings import Settings
    from streams.runtime.doctor.finding import Finding

EXAMPLES = (
    ("tideline doctor --catalog shop.yaml --data-dir .tideline/up", "a service of `tideline up`"),
    (
        "tideline doctor -c shop.yaml --kafka broker:9092 --store redis://localhost:6379/0",
        "one with servers of its own",
    ),
    ("tideline doctor --json | jq '.checks[] | select(.state != \"ok\")'", "what a script has to tell somebody"),
)
_COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


@guarded()
def doctor(
    catalog: Annotated[
        Path | None,
        typer.Option(
            "--catalog", "-c", metavar="CATALOG", help="The catalog of the service: is it right, and the store's?"
        ),
    ] = None,
    store: Store = None,
    data_dir: DataDir = None,
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", metavar="HOST:PORT", help="The log is the Kafka there, not the embedded one."),
    ] = None,
    embedded: Embedded = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=600, help="Wait so long for log and store.")
    ] = 20.0,
    as_json: Json = False,
) -> None:
    """Check everything that a service needs: settings, packages, disk, ports, catalog, log and store.

    Says of each whether it is ok, a warning or wrong, and what to do. Starts nothing and changes nothing. Ends with the
    exit code of the first thing that is wrong.
    """
    from config.errors import SettingsError
    from config.settings import load_settings
    from streams.runtime.doctor.examine import Examination, examine
    from streams.runtime.doctor.finding import wrong
    from streams.runtime.doctor.machine import check_packages

    chosen = chosen_log(kafka, embedded=embedded)
    try:
        settings = load_settings(kafka_bootstrap_servers=kafka, api_log=chosen, redis_url=store, data_dir=data_dir)
    except SettingsError as error:
        # One for each problem; where things are is not known without them, so nothing else can be asked.
        problems = [wrong("settings", SettingsError(line)) for line in str(error).splitlines()]
        _tell([check_packages(), *problems], as_json=as_json)
        return
    place, _ = find_place(store, data_dir)
    _tell(examine(Examination(settings, place, _on_kafka(settings, chosen), catalog, timeout_s)), as_json=as_json)


def _on_kafka(settings: Settings, chosen: str | None) -> bool:
    """Whether the log is Kafka, where options say it or else the settings."""
    if chosen is not None:
        return chosen == "kafka"
    return settings.api_log == "kafka" or "kafka_bootstrap_servers" in settings.model_fields_set


def _tell(findings: Iterable[Finding], *, as_json: bool) -> None:
    """Show them, each as soon as it is known, and end with the exit code of the first that is wrong."""
    found = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            _show(finding)
    failed = [finding for finding in found if finding.state == "wrong"]
    if as_json:
        checks = [{"check": each.check, "state": each.state, "words": each.words} for each in found]
        echo_json({"ok": not failed, "checks": checks})
    else:
        warnings = sum(finding.state == "warning" for finding in found)
        show(f"{len(found)} checks: {len(failed)} wrong, {warnings} warnings.")
    if failed:
        raise typer.Exit(failed[0].exit_code)


def _show(finding: Finding) -> None:
    from rich.text import Text

    from streams.runtime.words import printable

    colour = _COLOURS[finding.state]
    show(Text.assemble((f"{finding.state:7}", colour), "  ", (finding.check, "bold"), f": {printable(finding.words)}"))
