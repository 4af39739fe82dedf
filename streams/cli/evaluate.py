"""`tideline evaluate`: Tideline beside other models, on the same moments."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from streams.cli.options import CatalogFile, Files, Json
from streams.cli.screen import TerminalWatcher, err, guarded, show

if TYPE_CHECKING:
    from config.catalog import Catalog

EXAMPLES = (
    ("tideline evaluate orders.csv -c shop.yaml", "against the plain heuristic"),
    ("tideline evaluate orders.csv -c shop.yaml --compare heuristic,lightgbm,bgnbd,river", "against all of them"),
    ("tideline evaluate orders.csv -c shop.yaml --prediction orders_7d --json", "one prediction, for a script"),
)


@guarded("Nothing was stored; an evaluation begins anew.")
def evaluate(
    files: Files,
    catalog: CatalogFile,
    compare: Annotated[
        str,
        typer.Option(
            "--compare", metavar="MODELS", help="Separated by commas: heuristic, lightgbm, bgnbd, river; or none."
        ),
    ] = "heuristic",
    prediction: Annotated[
        str | None, typer.Option("--prediction", metavar="ID", help="Judge only this one (all are run).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge the likelihoods that Tideline would have served on your own events, beside other models.

    Every model gets the same moments, features and labels, and learns only from what was known at the time.
    docs/evaluation.md says which moments are judged and how to read the figures. Nothing is stored.
    """
    from config.loader import load_catalog
    from streams.adapters.files import open_log
    from streams.runtime.evaluation.peers import check_peers
    from streams.runtime.evaluation.run import run_evaluation
    from streams.runtime.evaluation.table import tables

    models = check_peers([name for name in map(str.strip, compare.split(",")) if name and name != "none"])
    loaded = load_catalog(catalog)
    _check_prediction(loaded, prediction)
    with TerminalWatcher() as watcher, _Judging() as judging:
        with watcher.step("Reading the files"):
            log = open_log(files, loaded, time.time(), progress=watcher.scanned)
        with log:
            watcher.covers(log.first_time_s, log.last_time_s)
            report = run_evaluation(loaded, log, models, watcher=watcher, only=prediction, progress=judging.tell)
    if as_json:
        typer.echo(report.to_json())
    else:
        show(*tables(report))
        show("[dim]docs/evaluation.md says how to read these tables.[/dim]")


def _check_prediction(catalog: Catalog, prediction: str | None) -> None:
    """Raises SettingsError for a prediction that the catalog does not have."""
    from config.errors import SettingsError

    if prediction is not None and prediction not in catalog.predictions:
        raise SettingsError(f"no prediction is called {prediction!r}. There are {', '.join(catalog.predictions)}.")


class _Judging:
    """A bar for each model that is asked."""

    def __init__(self) -> None:
        self._progress = Progress(TextColumn("{task.description}"), BarColumn(), console=err())
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._started = False

    def tell(self, prediction: str, model: str, done: float) -> None:
        if not err().is_terminal:
            return
        if not self._started:
            self._progress.start()
            self._started = True
        key = (prediction, model)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(f"{prediction}: {model}", total=1.0)
        self._progress.update(self._tasks[key], completed=done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._progress.stop()
