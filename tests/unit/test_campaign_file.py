"""Campaigns of the catalog file: part of no shard's catalog, and brought into the store as the file says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from config.catalog import Catalog
from config.errors import CatalogError, StoreUnavailable
from config.loader import load_catalog, loads
from config.written import to_yaml, written
from streams.adapters.campaign_definitions import CampaignDefinitions, Step, memory_campaign_definitions, stood
from streams.adapters.documents import DefinitionsChanged, MemoryDocument, Write
from streams.cli.app import app
from streams.runtime.campaigns.catalog_file import FILE, refuse_clashes, take_file, take_or_tell
from streams.runtime.replay import catalog_digest
from tests.contract.test_campaign_definitions import put

FULL = Path(__file__).with_name("full_campaigns.yaml")
SHOP = """
version: 1
name: Shop
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 7d}
"""
MESSAGING = """
messaging: {channels: {push: {kind: webhook}}}
"""
CART = """
campaigns:
  cart:
    name: %s
    segment: orders.high
    conversion: {event: Order}
    channels: [push]
    offer: {unit: percent, prediction: orders, least: 0, most: 20, step: 5}
    message: {parts: {body: Hello}}
"""
CART_JOURNEY = """
journeys:
  cart:
    name: Cart
    segment: orders.high
    conversion: {event: Order}
    channels: [push]
    steps: {go: {send: {parts: {body: Hello}}}}
"""


@pytest.fixture
def store() -> CampaignDefinitions:
    return memory_campaign_definitions()


def take(store: CampaignDefinitions, text: str, now_s: float) -> bool:
    return take_file(store, loads(SHOP + text), lambda: now_s)


def stands(store: CampaignDefinitions) -> tuple[Any, ...]:
    found = store.kept().find("cart")
    assert found is not None
    return found.head.source, found.head.version, found.head.stands.state


def test_campaigns_are_no_part_of_what_tells_catalogs_apart() -> None:
    plain, whole = loads(SHOP), loads(SHOP + MESSAGING + CART % "Cart")
    assert whole == plain
    assert type(whole) is Catalog
    assert catalog_digest(whole) == catalog_digest(plain)
    assert whole.model_dump_json() == plain.model_dump_json()
    assert written(whole) == written(plain)
    assert (bool(plain.sections), bool(whole.sections)) == (False, True)


def test_the_text_of_a_catalog_has_its_campaigns_and_says_the_same_again() -> None:
    whole = load_catalog(FULL)
    again = loads(to_yaml(whole))
    ours, theirs = whole.sections, again.sections
    assert (ours.messaging, ours.campaigns, ours.journeys) == (theirs.messaging, theirs.campaigns, theirs.journeys)
    assert (list(theirs.campaigns), list(theirs.journeys)) == (["incentive", "month", "spring"], ["rescue"])


def test_what_is_wrong_between_campaigns_and_the_catalog_has_its_line() -> None:
    text = SHOP + MESSAGING + CART % "Cart"
    for wrong, line, words in (
        (text.replace("orders.high", "ordrs.high"), 12, "did you mean 'orders'?"),
        (text.replace("[push]", "[pusch]"), 14, "unknown channel 'pusch'"),
        (text.replace("7d}", "7d, access: preview}"), 12, "preview and demo cannot be used"),
        (text + CART_JOURNEY, 19, "the id 'cart', which a campaign has"),
    ):
        with pytest.raises(CatalogError) as caught:
            loads(wrong)
        assert (caught.value.problems[0].line, words in str(caught.value)) == (line, True), str(caught.value)


def test_without_messaging_the_channels_are_those_of_the_service() -> None:
    assert list(loads(SHOP + CART % "Cart").sections.campaigns) == ["cart"]


def test_what_the_file_says_is_brought_into_the_store_once(store: CampaignDefinitions) -> None:
    assert take(store, MESSAGING + CART % "Cart", 10.0)
    assert not take(store, MESSAGING + CART % "Cart", 20.0)
    kept = store.kept()
    assert kept.revision == 1
    assert kept.common is not None
    assert kept.common.source == "file"
    assert stands(store) == ("file", 1, "on")
    assert kept.campaigns[0].current.kinds == {"orders": "event"}
    assert [change.key_id for _, change in store.history(None, 10)] == [FILE, FILE]


def test_a_change_of_the_file_is_a_version_and_leaves_what_people_have_decided(store: CampaignDefinitions) -> None:
    take(store, MESSAGING + CART % "Cart", 10.0)
    kept = store.kept()
    store.write(1, [stood(kept, kept.campaigns[0].head, "pause", "ann", 20.0)])
    take(store, MESSAGING + CART % "Another", 30.0)
    assert stands(store) == ("file", 2, "paused")
    take(store, MESSAGING + CART % "Another\n    state: dry", 40.0)
    assert stands(store) == ("file", 3, "dry"), "the file says so now"


def test_what_a_schedule_of_the_file_left_out_is_meant_as_when_it_was_taken(store: CampaignDefinitions) -> None:
    """Without `reentry` it meant 30 days then; a file that says the same is no edit that makes it mean always."""
    weekly = CART % "Cart" + "\n    trigger: {every: week, on: [monday], at: '10:00'}"
    take(store, MESSAGING + weekly, 10.0)
    kept = store.kept()
    (found,) = kept.campaigns
    store.write(kept.revision, [Step(found.head, None, msgspec.structs.replace(found.current, triggered_s=None))])
    assert not take(store, MESSAGING + weekly, 20.0)
    assert store.kept().definitions({}).campaigns["cart"][1].again_after_s == 30 * 86_400.0
    assert take(store, MESSAGING + weekly + "\n    reentry: always", 30.0)
    assert store.kept().definitions({}).campaigns["cart"][2].again_after_s == 0.0


def test_what_is_taken_out_of_the_file_is_archived_and_comes_back_with_it(store: CampaignDefinitions) -> None:
    take(store, MESSAGING + CART % "Cart", 10.0)
    take(store, "", 20.0)
    assert stands(store) == ("api", 1, "archived")
    common = store.kept().common
    assert common is not None
    assert (common.source, common.definition) == ("api", {"channels": {"push": {"kind": "webhook"}}})
    assert not take(store, "", 30.0)
    take(store, MESSAGING + CART % "Cart", 40.0)
    assert stands(store) == ("file", 2, "on")


def test_the_file_takes_over_what_was_made_through_the_api(store: CampaignDefinitions) -> None:
    put(store, "cart", 10.0)
    put(store, "other", 10.0)
    take(store, MESSAGING + CART % "Mine", 20.0)
    assert stands(store) == ("file", 2, "on")
    other = store.kept().find("other")
    assert other is not None
    assert (other.head.source, other.head.stands.state) == ("api", "on")


def test_an_id_never_becomes_another_kind(store: CampaignDefinitions) -> None:
    take(store, MESSAGING + CART % "Cart", 10.0)
    with pytest.raises(CatalogError, match="the id of a campaign that was made before"):
        take(store, MESSAGING + CART_JOURNEY, 20.0)


def test_what_cannot_be_taken_is_told_once_and_stops_nobody(
    store: CampaignDefinitions, caplog: pytest.LogCaptureFixture
) -> None:
    take(store, MESSAGING + CART % "Cart", 10.0)
    before = store.kept()
    take_or_tell(store, loads(SHOP + MESSAGING + CART_JOURNEY))
    assert store.kept() == before, "nothing of the file is taken by halves"
    (told,) = [each for each in caplog.records if each.levelname == "ERROR"]
    words = told.getMessage()
    assert "journeys.cart: found the id of a campaign that was made before; expected an id of its own" in words
    assert "Mend this and start the workers again" in words


def test_mistakes_in_texts_are_told_with_their_lines_and_stop_nobody(
    store: CampaignDefinitions, caplog: pytest.LogCaptureFixture
) -> None:
    text = SHOP + MESSAGING + (CART % "Cart").replace("{body: Hello}", "{body: '{{ basket }}'}")
    take_or_tell(store, loads(text))
    assert store.kept().find("cart") is not None
    (told,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "basket" in line)
    assert told.startswith(f"the catalog file, line {line}, campaigns.cart.message.parts.body: found body, line 1: ")
    assert "'basket', which is never known" in told


def test_a_campaign_of_another_version_stops_nobody_who_scores(caplog: pytest.LogCaptureFixture) -> None:
    document = MemoryDocument()
    document.write(0, Write({"campaign:cart": b'{"of": "a later version"}'}, []))
    take_or_tell(CampaignDefinitions(document), loads(SHOP + MESSAGING + CART % "Cart"))
    assert document.revision() == 1
    (told,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert "a version of Tideline that this one does not read" in told


def test_a_store_that_does_not_answer_is_raised() -> None:
    class Away(MemoryDocument):
        def read(self) -> tuple[int, dict[str, bytes]]:
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        take_or_tell(CampaignDefinitions(Away()), loads(SHOP + MESSAGING + CART % "Cart"))


def test_the_service_of_campaigns_refuses_what_workers_could_not_take(store: CampaignDefinitions) -> None:
    take(store, MESSAGING + CART % "Cart", 10.0)
    refuse_clashes(store, loads(SHOP + MESSAGING + CART % "Another"))
    with pytest.raises(CatalogError, match="the id of a campaign that was made before"):
        refuse_clashes(store, loads(SHOP + MESSAGING + CART_JOURNEY))
    assert store.revision() == 1


class _Contended(MemoryDocument):
    """Somebody else is first once."""

    is_first = True

    def write(self, expected: int, write: Any, answer: Any = None) -> None:
        if self.is_first:
            self.is_first = False
            raise DefinitionsChanged("others")
        super().write(expected, write, answer)


def test_it_is_tried_again_where_somebody_else_was_first() -> None:
    store = CampaignDefinitions(_Contended())
    assert take(store, MESSAGING + CART % "Cart", 10.0)
    assert store.revision() == 1


def test_check_says_what_there_is() -> None:
    result = CliRunner().invoke(app, ["check", str(FULL)], env={"COLUMNS": "120", "TERM": "dumb"})
    assert result.exit_code == 0
    assert re.search(r"month +The monthly round-up +churn.low +lines", result.stdout)
    assert re.search(r"rescue +Three days +churn.high +lines", result.stdout)
    found = json.loads(CliRunner().invoke(app, ["check", str(FULL), "--json"]).stdout)
    assert (found["campaigns"], found["journeys"]) == (["incentive", "month", "spring"], ["rescue"])
    assert (found["holdout"], found["channels"]) == (0.1, {"push": "webhook", "mail": "email", "lines": "log"})
    assert (found["history"], found["remember"]) == ([], {})


def test_check_says_what_holds_for_all_messages() -> None:
    result = CliRunner().invoke(app, ["check", str(FULL)], env={"COLUMNS": "120", "TERM": "dumb"})
    first = "  messaging 10% of all users are never sent anything (holdout)"
    lines = result.stdout.splitlines()
    at = lines.index(first)
    assert [line.strip() for line in lines[at + 1 : at + 7]] == [
        "at most 3 to a user within 7d",
        "nothing from 21:00 to 08:00",
        "time zone of users: the trait zone, else Europe/Paris",
        "channel push: webhook, to whom the trait plan is paid",
        "channel mail: email to the trait email, from Agreed to Opted Out",
        "channel lines: log, to everybody",
    ]
