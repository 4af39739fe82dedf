"""`tideline keys`: who may use the API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import DataDir, Json, Store, find_place
from streams.cli.screen import echo_json, err, guarded, show

if TYPE_CHECKING:
    from streams.adapters.redis_api_keys import KeyState, RedisApiKeys

CREATE_EXAMPLES = (
    ("tideline keys create --role ingest --name shop", "the write key of a Segment SDK"),
    ("tideline keys create --role read --name dashboards --store redis://localhost:6379/0", "of another store"),
)
LIST_EXAMPLES = (("tideline keys list", "all keys, when they were made and last used"),)
REVOKE_EXAMPLES = (("tideline keys revoke 5f0c6f3a1b2c", "it is refused within five seconds"),)


class KeyRole(StrEnum):
    """What a key may do; `streams.api.keys.Role`, which is not imported for a help text."""

    INGEST = "ingest"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@guarded()
def create(
    role: Annotated[
        KeyRole,
        typer.Option("--role", help="ingest: events in, nothing else; read; write: read, too; admin: everything."),
    ],
    name: Annotated[str, typer.Option("--name", help="Who or what uses it, for `tideline keys list`.")],
    store: Store = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key for the API and print it, this once.

    Only a hash of it is stored. The key is the only line on standard output.
    """
    from config.errors import SettingsError
    from streams.api.keys import Role, make_key

    if not name.strip() or len(name) > 100:
        raise SettingsError("--name: expected 1 to 100 characters")
    key, record = make_key(Role(role.value), name, time.time())
    with _opened(store, data_dir) as keys:
        keys.add(record)
    err().print(f"Made the key {record.id} with the role {role.value}. It is shown this once:", markup=False)
    typer.echo(key)


@guarded()
def list_(store: Store = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show all keys of the API: id, role, name, and what became of them. Never the keys themselves."""
    from streams.cli.tables import add, plain_table
    from streams.runtime.words import moment

    with _opened(store, data_dir) as keys:
        found = keys.all()
    if as_json:
        echo_json([_as_dict(state) for state in found])
        return
    if not found:
        show("There are no keys yet. Make one: tideline keys create --role ingest --name shop")
        return
    table = plain_table("id", "role", "name", "made", "last used (UTC)", "revoked")
    for state in found:
        record, times = state.record, (state.record.created_s, state.used_s, state.revoked_s)
        add(table, record.id, record.role, record.name, *map(moment, times))
    show(table)


@guarded()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as `tideline keys list` shows it.")],
    store: Store = None,
    data_dir: DataDir = None,
) -> None:
    """End a key for good. Every API process refuses it within five seconds."""
    from config.errors import NotStored
    from streams.api.keys import id_of, looks_like_id

    key_id = id_of(key_id) or key_id  # the key itself is understood, too
    with _opened(store, data_dir) as keys:
        if not looks_like_id(key_id) or not keys.revoke(key_id, time.time()):
            raise NotStored(f"there is no key with the id {key_id[:40]!r}. tideline keys list shows all")
    show(f"The key {key_id} is revoked.")


@contextmanager
def _opened(store: str | None, data_dir: Path | None) -> Iterator[RedisApiKeys]:
    from streams.adapters.redis_api_keys import RedisApiKeys
    from streams.runtime.place import join_place

    place, _ = find_place(store, data_dir)
    with join_place(place) as url:
        keys = RedisApiKeys(url, prefix=place.prefix)
        try:
            yield keys
        finally:
            keys.close()


def _as_dict(state: KeyState) -> dict[str, object]:
    record = state.record
    return {
        "id": record.id,
        "role": record.role,
        "name": record.name,
        "created_s": record.created_s,
        "used_s": state.used_s,
        "revoked_s": state.revoked_s,
    }
