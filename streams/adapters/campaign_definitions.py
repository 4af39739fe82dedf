"""Campaigns, journeys and what they share, as they are kept: every version that is needed, and how each stands.

They have a document of their own (`streams.adapters.documents`), beside that of predictions and segments: who changes a
campaign disturbs no shard. `docs/redis.md` describes its fields.

What the catalog file defines is kept here as well (`source`), with versions and a standing like the rest, so there is
one place that says what is in force.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from config.campaign_checks import read_campaign, read_journey, read_messaging
from config.campaigns import Campaign, Messaging
from config.errors import CatalogError
from config.journeys import Journey
from streams.adapters.documents import (
    Answer,
    DefinitionsChanged,
    Document,
    MemoryDocument,
    Place,
    Write,
    foreign,
)
from streams.adapters.redis_document import RedisDocument
from streams.adapters.redis_keys import campaign_definitions_key
from streams.adapters.redis_store import WaitFor
from streams.campaigns.offers import Kind as PredictionKind
from streams.campaigns.plan import Definitions, Standing

CampaignKind: TypeAlias = Literal["campaign", "journey"]
CAMPAIGN_KINDS: Final[tuple[CampaignKind, ...]] = ("campaign", "journey")
Source: TypeAlias = Literal["file", "api"]
State: TypeAlias = Literal["on", "dry", "paused", "archived"]
Action: TypeAlias = Literal["create", "edit", "pause", "resume", "dry", "archive", "forget"]
BREAKER: Final = "breaker"
"""Who it was, in the history, when no person was."""
_MESSAGING: Final = "messaging"
_FORGOTTEN: Final = "forgotten"
EARLIER_KEPT: Final = 20
"""So many standings before the present one are known."""


class Earlier(msgspec.Struct, frozen=True, array_like=True):
    """How one stood before, and since when."""

    since_s: float
    state: State


class Stands(msgspec.Struct, frozen=True):
    """How a campaign or journey stands, whatever its version. Times are seconds since 1970 UTC."""

    state: State
    since_s: float
    """No two of one campaign are the same, and they grow."""
    created_s: float
    why: str | None = None
    """For people: why it was paused, where that was no person's decision."""
    earlier: tuple[Earlier, ...] = ()
    """The last `EARLIER_KEPT` standings before this one, the latest last."""

    def then(self, state: State, now_s: float, why: str | None = None) -> Stands:
        """From now on; by a clock that was set back from a moment later than before."""
        earlier = (*self.earlier, Earlier(self.since_s, self.state))[-EARLIER_KEPT:]
        return Stands(state, max(now_s, math.nextafter(self.since_s, math.inf)), self.created_s, why, earlier)


class Version(msgspec.Struct, frozen=True):
    """One version of a campaign or journey. It never changes."""

    definition: dict[str, Any]
    """As a person writes it (`config.written`)."""
    made_s: float
    kinds: dict[str, PredictionKind]
    """Kind of each prediction that offers go by, as it was then: for when the prediction is gone."""
    triggered_s: float | None = None
    """Since when the trigger is what it is in this version; None: since it was made."""


class Head(msgspec.Struct, frozen=True):
    """What is known of a campaign or journey beside its versions."""

    kind: CampaignKind
    id: str
    source: Source
    version: int
    """The one in force: the number of edits, from 1."""
    stands: Stands
    made: Place
    """The change that made it."""
    changed: int
    """The revision that changed it last: definition or standing."""
    changed_s: float


class Common(msgspec.Struct, frozen=True):
    """What all of them share (`config.campaigns.Messaging`)."""

    definition: dict[str, Any]
    source: Source
    changed: int
    changed_s: float


class Change(msgspec.Struct, frozen=True):
    """What somebody did. `before` and `after` are definitions; a change of the standing alone leaves both out."""

    kind: Literal["campaign", "journey", "messaging"]
    id: str
    action: Action
    at_s: float
    key_id: str
    """Whose key it was; `file` for what the catalog file said, `breaker`."""
    version: int
    """Of a campaign or journey behind it; 0 for messaging."""
    state: State | None
    """How a campaign or journey stands behind it."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    why: str | None = None


class KeptCampaign(NamedTuple):
    """A campaign or journey with the versions that are kept."""

    head: Head
    versions: Mapping[int, Version]

    @property
    def current(self) -> Version:
        """The version in force."""
        return self.versions[self.head.version]

    @property
    def standing(self) -> Standing:
        """As the engine takes it."""
        stands = self.head.stands
        earlier = tuple((each.since_s, each.state) for each in stands.earlier)
        return Standing(stands.state, stands.since_s, stands.created_s, _triggered_s(self.current), earlier)

    def definition(self) -> Campaign | Journey:
        """The version in force. Raises StoreIncompatible for one that cannot be read."""
        return _read(self.head, self.current)

    def is_defined_as(self, definition: dict[str, Any]) -> bool:
        """Whether the version in force says the same; what it left out is meant as when it was saved."""
        current = self.current
        return current.definition == (definition if current.triggered_s is not None else _as_meant_before(definition))


class KeptCampaigns(NamedTuple):
    """All of them as of one revision, in the order in which they were made."""

    revision: int
    common: Common | None
    """None before anybody has defined what they share: all defaults, and no channels."""
    campaigns: tuple[KeptCampaign, ...]
    forgotten: frozenset[str] = frozenset()
    """Ids that nobody may use again: partitions may still know users by them."""

    def find(self, id_: str) -> KeptCampaign | None:
        """The campaign or journey with that id."""
        return next((each for each in self.campaigns if each.head.id == id_), None)

    def messaging(self) -> Messaging:
        """What they share. Raises StoreIncompatible for what cannot be read."""
        if self.common is None:
            return Messaging()
        try:
            return read_messaging(self.common.definition)
        except CatalogError as error:
            raise foreign(error) from error

    def definitions(self, kinds: Mapping[str, PredictionKind]) -> Definitions:
        """As the engine takes them, archived ones among them: their figures stay.

        `kinds`: of the predictions that there are; of others a version says what they were. Raises StoreIncompatible.
        """
        known: dict[str, PredictionKind] = {}
        for each in self.campaigns:
            for version in each.versions.values():
                known |= version.kinds
        found: dict[CampaignKind, dict[str, dict[int, Any]]] = {kind: {} for kind in CAMPAIGN_KINDS}
        for head, versions in self.campaigns:
            found[head.kind][head.id] = {number: _read(head, each) for number, each in versions.items()}
        return Definitions(
            messaging=self.messaging(),
            campaigns=found["campaign"],
            journeys=found["journey"],
            standings={each.head.id: each.standing for each in self.campaigns},
            kinds={**known, **kinds},
        )


class Step(NamedTuple):
    """What becomes of one campaign or journey, or of what they share, and what the history says of it."""

    what: Head | Common
    change: Change | None
    """None: nobody did anything (versions that are not needed any more)."""
    version: Version | None = None
    """A new one, with the number of the head."""
    forgotten: Collection[int] = ()
    """Numbers of versions that are not kept any longer."""
    is_gone: bool = False
    """Nothing of it is kept any longer but the id."""


class CampaignDefinitions:
    """See the module. May be used by several threads.

    Every method raises StoreUnavailable when the server does not answer, other StoreErrors when it refuses, and
    StoreIncompatible for what another version of Tideline has written and this one cannot read.
    """

    def __init__(self, document: Document) -> None:
        self._document = document

    def revision(self) -> int:
        """0 before the first change, and one more with each. One small question."""
        return self._document.revision()

    def kept(self) -> KeptCampaigns:
        """Everything, as of one revision."""
        revision, fields = self._document.read()
        forgotten = self._document.marks()  # behind the rest: who is forgotten meanwhile is told with the next revision
        try:
            return _kept(revision, fields, forgotten)
        except (msgspec.DecodeError, KeyError) as error:
            raise foreign(error) from error

    def write(self, expected: int, steps: Sequence[Step], answer: Answer | None = None) -> None:
        """Make changes to what was kept as of revision `expected`, all or nothing; see `RedisDocument.write`."""
        self._document.write(expected, _write_of(steps), answer)

    def answered(self, asked: str) -> Answer | None:
        """What was answered to that question within the last day."""
        return self._document.answered(asked)

    def history(self, before: Place | None, limit: int) -> list[tuple[Place, Change]]:
        """At most `limit` changes, the latest first; only those before a place, if one is given."""
        try:
            page = self._document.history(before, limit)
            return [(place, msgspec.json.decode(data, type=Change)) for place, data in page]
        except msgspec.DecodeError as error:
            raise foreign(error) from error

    def trip(self, id_: str, since_s: float, at_s: float, why: str = "it would have sent many times as much") -> bool:
        """Pause a campaign or journey if it still stands as it did since `since_s`; False if it does not.

        So whatever trips together pauses it once, and nobody pauses what people have put on again. A repetition does
        nothing.
        """
        while True:
            kept = self.kept()
            found = kept.find(id_)
            if (
                found is None
                or found.head.stands.since_s != since_s
                or found.head.stands.state in ("paused", "archived")
            ):
                return False
            step = stood(kept, found.head, "pause", BREAKER, at_s, why)
            with suppress(DefinitionsChanged):
                self.write(kept.revision, [step])
                return True

    def forget_versions(self, needed: Mapping[str, Collection[int]], before_s: float) -> int:
        """Forget versions that are not in force, were replaced before `before_s`, and are not `needed`; how many went.

        `needed`: id -> the versions that users are in (`Book.inside`, `Book.open` of all partitions), read after
        `before_s`: whoever decides by a plan that is older than that would lead users into what is forgotten, so it
        lies some minutes back. Of an id that is not in it nothing is forgotten.
        """
        while True:
            kept = self.kept()
            steps = [
                Step(each.head, None, forgotten=gone)
                for each in kept.campaigns
                if each.head.id in needed and (gone := _not_needed(each, needed[each.head.id], before_s))
            ]
            if not steps:
                return 0
            with suppress(DefinitionsChanged):
                self.write(kept.revision, steps)
                return sum(len(step.forgotten) for step in steps)

    def close(self) -> None:
        """Give the connections back."""
        self._document.close()


def redis_campaign_definitions(
    url: str, *, prefix: str = "tl", history: int = 10_000, wait_for: WaitFor | None = None, timeout_s: float = 5.0
) -> CampaignDefinitions:
    """Those in Redis below a prefix. `history`: so many changes are remembered. `wait_for`: copies of a change."""
    key = partial(campaign_definitions_key, prefix)
    return CampaignDefinitions(RedisDocument(url, key, history=history, wait_for=wait_for, timeout_s=timeout_s))


def memory_campaign_definitions(*, history: int = 10_000) -> CampaignDefinitions:
    """The same in memory, for tests and tools."""
    return CampaignDefinitions(MemoryDocument(history=history))


# --- what becomes of them --------------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """A definition as it is to be from now on."""

    kind: CampaignKind
    id: str
    definition: dict[str, Any]
    """As a person writes it."""
    kinds: dict[str, PredictionKind]
    """Kind of each prediction that its offers go by."""
    source: Source = "api"
    state: State | None = None
    """How it stands; None: a new one as its `state` says, and of an old one as before, unless an edit changes that."""


def defined(kept: KeptCampaigns, wanted: Wanted, key_id: str, now_s: float, index: int = 0) -> Step:
    """A new campaign or journey, or a new version of one.

    `key_id`: who wants it. `index`: its place among those that are made in one step.
    """
    found, place = kept.find(wanted.id), (kept.revision + 1, index)
    said, triggered_s = _said(wanted.definition), now_s
    if found is not None and found.current.definition.get("trigger") == wanted.definition.get("trigger"):
        triggered_s = _triggered_s(found.current)
    version = Version(wanted.definition, now_s, wanted.kinds, triggered_s)
    if found is None:
        stands = Stands(wanted.state or said, now_s, now_s)
        head = Head(wanted.kind, wanted.id, wanted.source, 1, stands, place, place[0], now_s)
        change = Change(wanted.kind, wanted.id, "create", now_s, key_id, 1, stands.state, after=wanted.definition)
        return Step(head, change, version)
    before, old = found.head, found.current.definition
    state = wanted.state or (before.stands.state if said == _said(old) else said)
    stands = before.stands if state == before.stands.state else before.stands.then(state, now_s)
    number = before.version + 1
    head = Head(before.kind, before.id, wanted.source, number, stands, before.made, place[0], now_s)
    change = Change(head.kind, head.id, "edit", now_s, key_id, number, stands.state, old, wanted.definition)
    return Step(head, change, version)


def _triggered_s(version: Version) -> float:
    return version.made_s if version.triggered_s is None else version.triggered_s


def _said(definition: Mapping[str, Any]) -> State:
    """How a definition says that it begins."""
    state: State = definition.get("state", "on")
    return state


_STATES: Final[dict[Action, State]] = {"pause": "paused", "resume": "on", "dry": "dry", "archive": "archived"}


def stood(
    kept: KeptCampaigns, head: Head, action: Action, key_id: str, now_s: float, why: str | None = None,
    source: Source | None = None,
) -> Step:  # fmt: skip
    """A campaign or journey that is paused, resumed, put on a dry run or archived. `source`: of another one now."""
    stands = head.stands.then(_STATES[action], now_s, why)
    after = msgspec.structs.replace(
        head, stands=stands, changed=kept.revision + 1, changed_s=now_s, source=source or head.source
    )
    change = Change(head.kind, head.id, action, now_s, key_id, head.version, stands.state, why=why)
    return Step(after, change)


def gone(found: KeptCampaign, key_id: str, now_s: float) -> Step:
    """An archived campaign or journey that is kept no longer."""
    head = found.head
    change = Change(
        head.kind, head.id, "forget", now_s, key_id, head.version, head.stands.state, found.current.definition
    )
    return Step(head, change, forgotten=list(found.versions), is_gone=True)


def shared(kept: KeptCampaigns, definition: dict[str, Any], key_id: str, now_s: float, source: Source = "api") -> Step:
    """What all of them share from now on."""
    before = None if kept.common is None else kept.common.definition
    change = Change(
        _MESSAGING, _MESSAGING, "create" if before is None else "edit", now_s, key_id, 0, None, before, definition
    )
    return Step(Common(definition, source, kept.revision + 1, now_s), change)


def applied(kept: KeptCampaigns, steps: Sequence[Step]) -> KeptCampaigns:
    """What is kept once these steps are written."""
    if not steps:
        return kept
    common, found = kept.common, {each.head.id: each for each in kept.campaigns}
    gone_ids = {step.what.id for step in steps if step.is_gone and isinstance(step.what, Head)}
    for what, _, version, forgotten, is_gone in steps:
        if isinstance(what, Common):
            common = what
            continue
        if is_gone:
            found.pop(what.id, None)
            continue
        before = found[what.id].versions if what.id in found else {}
        versions = {number: each for number, each in before.items() if number not in forgotten}
        found[what.id] = KeptCampaign(what, versions if version is None else {**versions, what.version: version})
    ordered = sorted(found.values(), key=lambda each: each.head.made)
    return KeptCampaigns(kept.revision + 1, common, tuple(ordered), kept.forgotten | gone_ids)


# --- fields ----------------------------------------------------------------------------------------------------------


def _kept(revision: int, fields: Mapping[str, bytes], marks: Collection[str]) -> KeptCampaigns:
    heads: list[Head] = []
    versions: dict[str, dict[int, Version]] = {}
    common: Common | None = None
    forgotten = set(marks)
    for name, data in fields.items():
        kind, _, rest = name.partition(":")
        if kind == _MESSAGING:
            common = msgspec.json.decode(data, type=Common)
        elif kind == _FORGOTTEN:
            forgotten.add(rest)  # where ids were kept for a while that have a key of their own now
        elif kind == "version":
            id_, _, number = rest.partition("@")
            versions.setdefault(id_, {})[int(number)] = _as_saved(msgspec.json.decode(data, type=Version))
        else:
            heads.append(msgspec.json.decode(data, type=Head))
    heads.sort(key=lambda head: head.made)
    ordered = (KeptCampaign(head, dict(sorted(versions[head.id].items()))) for head in heads)
    return KeptCampaigns(revision, common, tuple(ordered), frozenset(forgotten))


def _write_of(steps: Sequence[Step]) -> Write:
    fields: dict[str, bytes | None] = {}
    marks = [what.id for what, _, _, _, is_gone in steps if is_gone and isinstance(what, Head)]
    for what, _, version, forgotten, is_gone in steps:
        if isinstance(what, Common):
            fields[_MESSAGING] = msgspec.json.encode(what)
            continue
        fields[f"{what.kind}:{what.id}"] = None if is_gone else msgspec.json.encode(what)
        if version is not None:
            fields[_version(what.id, what.version)] = msgspec.json.encode(version)
        fields |= dict.fromkeys((_version(what.id, number) for number in forgotten), None)
    return Write(fields, [msgspec.json.encode(step.change) for step in steps if step.change is not None], marks)


def _version(id_: str, number: int) -> str:
    return f"version:{id_}@{number}"


_REENTRY_BEFORE: Final = "30d"
"""What a schedule without `reentry` meant when versions were saved that do not know since when their trigger is so."""


def _as_saved(version: Version) -> Version:
    """What it left out says what it meant when it was saved."""
    if version.triggered_s is not None:
        return version
    return msgspec.structs.replace(version, definition=_as_meant_before(version.definition))


def _as_meant_before(definition: dict[str, Any]) -> dict[str, Any]:
    trigger = definition.get("trigger")
    is_scheduled = isinstance(trigger, dict) and not trigger.keys().isdisjoint(("at", "every"))
    return {**definition, "reentry": _REENTRY_BEFORE} if is_scheduled and "reentry" not in definition else definition


def _not_needed(each: KeptCampaign, needed: Collection[int], before_s: float) -> list[int]:
    """Versions of one campaign that nobody needs; a version was replaced when the next one was made."""
    numbers = list(each.versions)
    replaced = {number: each.versions[behind].made_s for number, behind in pairwise(numbers)}
    return [number for number, at_s in replaced.items() if number not in needed and at_s < before_s]


def _read(head: Head, version: Version) -> Campaign | Journey:
    try:
        read = read_campaign if head.kind == "campaign" else read_journey
        return read(head.id, version.definition)
    except CatalogError as error:
        raise foreign(error) from error
