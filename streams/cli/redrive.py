"""`tideline redrive`: records that could not be used, put back on the log through the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.campaign import asked_service
from streams.cli.definitions import Api, Key
from streams.cli.options import Json
from streams.cli.screen import echo_json, guarded, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from streams.client import Client

EXAMPLES = (
    ("tideline redrive", "the records that could not be used, with their ids, and what came of those put back"),
    ("tideline redrive 0-137-2", "that one is put back on the log as it was"),
    ("tideline redrive 0-137-2 --record event.json", "and so it is, corrected"),
)
_PAGE = 100
_START_CHARACTERS = 60


@guarded()
def redrive(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which ones; without any, they are listed.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="What to put there in its place: an event as JSON.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="REASON", help="List only those that were refused for this.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="List so many.")] = 20,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put records that could not be used back on the log, each once, as they were or corrected; or list them.

    Listing needs a key of the role read, putting back one of the role admin: it writes events in the name of anybody.
    """
    from config.errors import SettingsError

    if record is not None and len(ids or ()) != 1:
        raise SettingsError("--record is for one record: give its ID")
    body = {} if record is None else {"record": _text_of(record)}
    with asked_service(api, key) as client:
        if ids:
            done = {id_: client.call("redriveDeadLetter", {"letter_id": id_}, body=body) for id_ in ids}
            _tell_done(done, as_json=as_json)
        else:
            found = _listed(client, reason, limit)
            _tell_found(found, as_json=as_json)


def _text_of(file: Path) -> str:
    """Raises ConfigError for a file that cannot be read."""
    from config.errors import ConfigError

    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _listed(client: Client, reason: str | None, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < limit:
        query = {"reason": reason, "limit": min(_PAGE, limit - len(found)), "cursor": cursor}
        page = client.call("listDeadLetters", query=query)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found[:limit]


def _tell_done(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json([{"id": id_} | each for id_, each in done.items()])
        return
    for id_, each in done.items():
        why = "" if each["why"] is None else f": {each['why']}"
        show(f"{id_}: {each['outcome']} (message id {each['message_id']}){why}")


def _tell_found(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        echo_json(found)
    elif not found:
        show("There are none.")
    else:
        show(_table(found))


def _table(found: list[dict[str, Any]]) -> RenderableType:
    from streams.cli.tables import add, plain_table

    table = plain_table("id", "reason", "what was wrong", "put back", "record")
    for each in found:
        back = each["redriven"]
        state = back["outcome"] if back is not None else "" if each["can_be_redriven"] else "only corrected"
        text = each["record"] if each["record"] is not None else f"base64: {each['record_base64']}"
        add(table, each["id"], each["reason"], each["detail"], state, text[:_START_CHARACTERS])
    return table
