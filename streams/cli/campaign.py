"""`tideline campaign`: campaigns and journeys of a running service, through its API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streams.cli.definitions import Api, Key
from streams.cli.options import Json
from streams.cli.screen import confirm, echo_json, guarded, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from streams.client import CampaignKind, Client, Defined, Standing

LIST_EXAMPLES = (
    ("tideline campaign list", "all campaigns and journeys, and what each does now"),
    ("tideline campaign list --status paused --json", "those that rest, for a script"),
)
SHOW_EXAMPLES = (("tideline campaign show warm_cart", "how it stands and is defined, and who changed it when"),)
PAUSE_EXAMPLES = (("tideline campaign pause warm_cart", "nothing begins, and what waits is held"),)
RESUME_EXAMPLES = (
    ("tideline campaign resume warm_cart", "it sends (again)"),
    ("tideline campaign resume warm_cart --dry-run", "it decides and counts, and sends nothing"),
)
ARCHIVE_EXAMPLES = (("tideline campaign archive warm_cart", "for good; its figures stay"),)
FORGET_EXAMPLES = (
    ("tideline campaign forget old_cart", "nothing is kept of an archived one but its id"),
    ("tideline campaign forget old_cart --yes", "without asking, in a script"),
)
DUPLICATE_EXAMPLES = (("tideline campaign duplicate warm_cart warm_cart_2", "the same under another id, paused"),)
_CHANGES = 5

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a campaign or journey.")]


class Status(StrEnum):
    """What a campaign does now, as the API has it."""

    ON = "on"
    DRY = "dry"
    PAUSED = "paused"
    ARCHIVED = "archived"
    EARLY = "early"
    OVER = "over"


class Found(NamedTuple):
    """What has that id."""

    kind: CampaignKind
    defined: Defined


@guarded()
def list_(
    status: Annotated[Status | None, typer.Option("--status", help="Only those with this status.")] = None,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List campaigns and journeys: what each does now, and for whom.

    Those of the catalog file are among them. Needs a key of the role read.
    """
    with asked_service(api, key) as client:
        wanted = None if status is None else status.value
        found = [*client.campaigns("campaign", status=wanted), *client.campaigns("journey", status=wanted)]
    if as_json:
        echo_json(found)
        return
    if not found:
        show("There are none." if status else "There are none yet. docs/campaigns.md says how they are made.")
        return
    show(_table(found))


@guarded()
def show_(id_: Id, api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """Show one: how it stands, what is wrong with it, how it is defined, and the latest changes.

    Needs a key of the role read.
    """
    with asked_service(api, key) as client:
        kind, defined = find(client, id_)
        changes = []
        for change in client.campaign_changes(kind, id_, limit=_CHANGES):
            changes.append(change)
            if len(changes) == _CHANGES:
                break
    if as_json:
        echo_json({**defined.data, "changes": changes})
        return
    show(*_described(defined.data, changes))


@guarded()
def pause(id_: Id, api: Api = None, key: Key = None) -> None:
    """Pause one: nothing begins, and what waits is held. Needs a key of the role write."""
    _stand(id_, "pause", api, key, "is paused")


@guarded()
def resume(
    id_: Id,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and count everything, and send nothing.")] = False,
    api: Api = None,
    key: Key = None,
) -> None:
    """Put one on (again), or on a dry run. Needs a key of the role write."""
    if dry_run:
        _stand(id_, "dryRun", api, key, "is on a dry run")
    else:
        _stand(id_, "resume", api, key, "is on")


@guarded()
def archive(id_: Id, api: Api = None, key: Key = None) -> None:
    """Archive one for good: whoever is in it leaves. Its figures stay. Needs a key of the role write."""
    with asked_service(api, key) as client:
        kind, _ = find(client, id_)
        client.archive_campaign(kind, id_)
    show(f"The {kind} {id_} is archived.")


@guarded()
def forget(
    id_: Id,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    api: Api = None,
    key: Key = None,
) -> None:
    """Let go of an archived one: its definition and its figures go, and its id is never used again.

    It can be done from ten minutes after it was archived, once nobody is in it and the windows of its users are over.
    Needs a key of the role write.
    """
    from config.errors import TidelineError
    from streams.runtime.words import printable

    with asked_service(api, key) as client:
        kind, defined = find(client, id_)
        if defined.data["state"] != "archived":
            raise TidelineError(f"the {kind} {id_} is not archived; tideline campaign archive {id_} ends it for good")
        question = f"Forget the {kind} {id_} ({printable(defined.data['name'])}) with its figures? It cannot be undone."
        confirm(question, yes=yes, instead="--yes")
        client.forget_campaign(kind, id_, defined.etag)
    show(f"The {kind} {id_} is forgotten. Its id cannot be used again.")


@guarded()
def duplicate(
    id_: Id,
    new_id: Annotated[str, typer.Argument(metavar="NEW", help="The id of the new one.")],
    name: Annotated[str | None, typer.Option("--name", help="Another name for people.")] = None,
    api: Api = None,
    key: Key = None,
) -> None:
    """Make the same under another id. It is paused: two that are on would both send. Needs a key of the role write."""
    with asked_service(api, key) as client:
        kind, _ = find(client, id_)
        client.duplicate_campaign(kind, id_, new_id, name)
    show(f"The {kind} {new_id} is made, and paused. It begins with: tideline campaign resume {new_id}")


@contextmanager
def asked_service(api: str | None, key: str | None) -> Iterator[Client]:
    """The service of the options and settings. Raises SettingsError, CatalogError, TidelineError."""
    from config.settings import load_settings
    from streams.cli.api_client import service

    with service(load_settings(api_url=api, api_key=key)) as client:
        yield client


def find(client: Client, id_: str) -> Found:
    """A campaign, or else a journey. Raises NotStored."""
    from config.errors import NotStored
    from streams.client import ApiError

    kinds: tuple[CampaignKind, ...] = ("campaign", "journey")
    for kind in kinds:
        try:
            return Found(kind, client.campaign(kind, id_))
        except ApiError as error:
            if error.kind != "not-found":
                raise
    raise NotStored(f"no campaign and no journey has the id {id_[:80]!r}. tideline campaign list shows all")


def _stand(id_: str, how: Standing, api: str | None, key: str | None, words: str) -> None:
    with asked_service(api, key) as client:
        kind, _ = find(client, id_)
        client.stand_campaign(kind, id_, how)
    show(f"The {kind} {id_} {words}. The service takes it up within a second.")


def _table(found: list[dict[str, Any]]) -> RenderableType:
    from streams.cli.tables import add, plain_table

    table = plain_table("kind", "id", "does", "for", "by", ">version", "name")
    for each in found:
        by = ", ".join(each["channels"])
        add(table, each["kind"], each["id"], each["status"], each["segment"], by, str(each["version"]), each["name"])
    return table


def _described(data: dict[str, Any], changes: list[dict[str, Any]]) -> Iterator[RenderableType]:
    from rich.text import Text

    from config.yaml_text import dump
    from streams.cli.tables import add, plain_table
    from streams.runtime.words import printable

    yield Text.assemble((printable(data["name"]), "bold"), f" ({data['kind']} {data['id']}, by the {data['source']})")
    words = f"It is {data['state']} since {data['since']}"
    if data["status"] != data["state"]:
        words += f", and {data['status']} now"
    yield Text(words + "." + (f" {printable(data['why'])}." if data["why"] else ""))
    if (next_ := next_words(data)) is not None:
        yield Text(next_)
    for wrong in data["problems"]:
        line = f"{wrong['path']}: found {wrong['found']}; expected {wrong['expected']}"
        yield Text(printable(line), style="yellow")
    yield Text(f"Version {data['version']}:\n")
    yield Text(printable_lines(dump(data["definition"])))
    table = plain_table("when (UTC)", "what", ">version", "key", title="Latest changes")
    for change in changes:
        add(table, change["at"] or "", change["action"], str(change["version"]), change["key_id"])
    yield table


def next_words(data: dict[str, Any]) -> str | None:
    """When one that is scheduled goes out next; None for others, and for one that rests."""
    trigger = data["definition"].get("trigger")
    is_scheduled = isinstance(trigger, dict) and "at" in trigger
    if not is_scheduled or data["status"] in ("paused", "archived"):
        return None
    return (
        "None of its times is still to come." if data["next_at"] is None else f"It goes out next at {data['next_at']}."
    )


def printable_lines(text: str) -> str:
    """Lines of which none commands the terminal."""
    from streams.runtime.words import printable

    return "\n".join(map(printable, text.splitlines()))
