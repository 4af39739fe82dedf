"""`tideline apply` and `tideline export`: definitions between files and a running service, through its API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.screen import confirm, err, guarded, show

if TYPE_CHECKING:
    from config.catalog import Catalog
    from config.settings import Settings
    from streams.client import Client

APPLY_EXAMPLES = (
    ("tideline apply catalog.yaml --plan", "what would be made, changed and archived in the service"),
    ("tideline apply catalog.yaml --yes", "do it without asking, in a script"),
)
EXPORT_EXAMPLES = (("tideline export > catalog.yaml", "everything that the service runs on, as one catalog"),)

Api = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", help="The service's API (http://127.0.0.1:8080, or TIDELINE_API_URL)."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="A key of it. Better TIDELINE_API_KEY: other users of the machine can read what a command was given.",
    ),
]


@guarded()
def apply(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="The catalog with what is wanted.")],
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    api: Api = None,
    key: Key = None,
) -> None:
    """Bring the predictions, segments and campaigns of a running service to what a catalog says.

    What the service does not have is made, what differs is changed, and what was made through the API and is not in the
    catalog is archived; nothing is deleted. It shows the plan and asks, and does all of it in one step, or nothing.
    Campaigns and journeys follow in a second step; of a catalog without any they stay as they are.
    What the service's own catalog file defines has to be the same here. Needs a key of the role write.
    """
    from config.loader import load_catalog
    from streams.cli.api_client import service

    loaded = load_catalog(catalog)
    wanted = _definitions(loaded)
    with service(_settings(api, key), loaded) as client:
        found = client.plan(**wanted)
        changes = found.data["changes"]
        _show_plan(found.data)
        _tell_rest(loaded, client)
        if plan or not changes:
            return
        confirm("Do this?", yes=yes, instead="--yes, or --plan to only look")
        client.apply(**wanted, etag=found.etag)
    show(f"Done: {len(changes)} definition{'s' if len(changes) > 1 else ''}. Workers take them up within a second.")


@guarded()
def export(api: Api = None, key: Key = None) -> None:
    """Print the catalog of a running service: its catalog file with what was made through the API.

    tideline check and tideline apply take it. Needs a key of the role read.
    """
    from streams.cli.api_client import service

    with service(_settings(api, key)) as client:
        typer.echo(client.export_definitions(), nl=False)


def _settings(api: str | None, key: str | None) -> Settings:
    from config.settings import load_settings

    return load_settings(api_url=api, api_key=key)


def _definitions(catalog: Catalog) -> dict[str, Any]:
    from config.written import written, written_sections

    sections = written_sections(catalog.sections)
    if catalog.sections.campaigns or catalog.sections.journeys:  # one that has none leaves them as they are
        sections = {"campaigns": {}, "journeys": {}} | sections
    return {
        **sections,
        "predictions": {id_: written(prediction) for id_, prediction in catalog.predictions.items()},
        "segments": {id_: written(segment) for id_, segment in catalog.segments.items()},
    }


def _show_plan(plan: dict[str, Any]) -> None:
    from streams.cli.tables import add, plain_table

    changes = plan["changes"]
    same = plan["unchanged"] + len(plan["of_file"])
    if not changes:
        show(f"Nothing to do: all {same} definitions are as the catalog says.")
        return
    table = plain_table("", "kind", "id", "what", title="Plan")
    for change in changes:
        add(table, change["action"], change["kind"], change["id"], "; ".join(map(_difference, change["differences"])))
    show(table)
    show(f"{same} stay as they are.")


def _difference(difference: dict[str, Any]) -> str:
    import json

    before, after = (
        "the default" if value is None else json.dumps(value, ensure_ascii=False)
        for value in (difference["before"], difference["after"])
    )
    return f"{difference['path']}: {before}, then {after}"


def _tell_rest(catalog: Catalog, client: Client) -> None:
    """Say what else the catalog says than the service, which cannot be changed while it runs."""
    from config.errors import CatalogError
    from config.loader import loads
    from config.written import written

    try:
        theirs = written(loads(client.export_definitions(), "the service's catalog"))
    except CatalogError as error:
        # A file that has changed since may not go with what was made before; what is applied here may put it right.
        words = f"What else the service's catalog says cannot be compared, because it is not right as it is: {error}"
        err().print(words, markup=False)
        return
    ours = written(catalog)
    names = ("input", "features", "history", "remember", "time", "limits")
    differ = [name for name in names if ours.get(name) != theirs.get(name)]
    if differ:
        words = f"The service has other {', '.join(differ)}. That is not applied: change the service's catalog file."
        err().print(words, markup=False)
