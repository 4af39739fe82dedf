"""`tideline campaign make`: a campaign or journey of a file, made with the segment that stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.campaign import asked_service, next_words
from streams.cli.campaign_file import Written, written_in
from streams.cli.definitions import Api, Key
from streams.cli.options import Json
from streams.cli.screen import echo_json, guarded, show, show_lines

if TYPE_CHECKING:
    from streams.client import Client

MAKE_EXAMPLES = (
    ("tideline campaign make spring.yaml", "what tideline campaign template has printed, with your changes"),
    ("tideline campaign make steps.yaml --id spring", "under this id, which a definition alone does not say"),
)
_BEGINS = {
    "dry": "on a dry run: it decides and counts, and sends nothing",
    "paused": "and paused: nothing begins",
    "on": "and is on",
}


@guarded()
def make(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A definition (YAML), alone, or as in a catalog with its segment.")
    ],
    id_: Annotated[str | None, typer.Option("--id", metavar="ID", help="Its id, in place of that of the file.")] = None,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make the campaign or journey of a file, with its segment; on a dry run, unless it says another state.

    What exists already is not changed. Needs a key of the role write.
    """
    from config.errors import SettingsError

    written = written_in(file)
    wanted = written.id if id_ is None else id_
    if wanted is None:
        raise SettingsError(f"{file} is a definition without an id: give one with --id")
    with asked_service(api, key) as client:
        made = make_written(client, written._replace(id=wanted))
    if as_json:
        echo_json(made)
    else:
        tell_made(made)


def make_written(client: Client, written: Written) -> dict[str, Any]:
    """Its segment first, which it is for, then it; as the API answers. Raises ApiError."""
    if written.segment is not None:
        _make_segment(client, str(written.definition["segment"]), written.segment)
    definition = {"state": "dry", **written.definition, "id": written.id}
    made: dict[str, Any] = client.create_campaign(written.kind, definition).data
    return made


def tell_made(made: dict[str, Any]) -> None:
    """How it stands, and what to do next."""
    show(f"The {made['kind']} {made['id']} is made, {_BEGINS[made['state']]}.")
    if (words := next_words(made)) is not None:
        show(words)
    if made["state"] != "on":
        show_lines(f"It begins with: tideline campaign resume {made['id']}")


def _make_segment(client: Client, id_: str, definition: dict[str, Any]) -> None:
    """One with the same filter that is there already will do: an attempt before may have been refused behind it."""
    from streams.client import ApiError

    try:
        client.create("segment", {**definition, "id": id_})
    except ApiError as error:
        if error.kind != "already-exists" or not _is_there(client, id_, definition):
            raise


def _is_there(client: Client, id_: str, definition: dict[str, Any]) -> bool:
    from pydantic import ValidationError

    from config.catalog import Segment
    from config.written import written

    there = client.definition("segment", id_).data
    try:
        wanted = written(Segment.model_validate(definition))  # 48h is kept as 2d
    except ValidationError:
        return False
    return not there["archived"] and there["definition"]["filter"] == wanted["filter"]
