"""`tideline delete-user` and `tideline traces`: deleting a user, and whether anything is left."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.definitions import Api, Key
from streams.cli.options import DataDir, Json, Store
from streams.cli.screen import echo_json, guarded, show

DELETE_EXAMPLES = (("tideline delete-user ann@example.org", "exits go out, and nothing of the user is kept"),)
TRACES_EXAMPLES = (
    ("tideline traces ann@example.org", "every key of the store that still names the user; none after a deletion"),
)
User = Annotated[str, typer.Argument(metavar="ID", help="The user's id, as in the events.")]


@guarded()
def delete_user(user: User, api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """Delete a user of a running service, through its API.

    It ends every membership (with the origin deleted), forgets all that is stored of the user, and refuses events from
    before the deletion from then on, also those of an import. Needs a key of the role write.
    """
    from config.settings import load_settings
    from streams.cli.api_client import service
    from streams.runtime.words import printable

    with service(load_settings(api_url=api, api_key=key)) as client:
        answer = client.delete_user(user)
    if as_json:
        echo_json(answer)
        return
    show(f"The deletion of {printable(user)} is in the log; GET {answer['status_url']} says when it is done.")


@guarded()
def traces(user: User, store: Store = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Look for a user in every key of the store.

    Shows each key that names the user, and how often; with exit code 1 if there is any. What has left the store lies in
    the log until its retention ends: events, transitions and dead letters (docs/core.md).
    """
    from streams.cli.stored import opened
    from streams.runtime.words import printable

    with opened(store, data_dir) as (reader, _):
        found = reader.traces(user)
    if as_json:
        echo_json({"user_id": user, "keys": found})
    elif found:
        show(f"{printable(user)} is in {len(found)} keys:", *(f"  {line}" for line in found))
    else:
        show(f"Nothing in the store names {printable(user)}.")
    if found:
        raise typer.Exit(1)
