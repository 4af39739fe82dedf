"""docs/asyncapi.yaml: it is AsyncAPI 3, and what it says is what the code sends and takes."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from config.settings import load_settings
from streams.adapters.kafka_publisher import binary_mode
from streams.adapters.redis_deliveries import Endpoint, Secrets
from streams.api.ingest_document import IDENTIFY, TRACK
from streams.core.state import ORIGINS
from streams.runtime.deliveries.audience import body_of
from streams.runtime.deliveries.endpoint_run import headers_of
from streams.runtime.deliveries.signing import write_secret
from tests.asyncapi_document import DOCUMENT, refused, resolved
from tests.conftest import ROOT, need
from tests.unit.crossing_examples import crossing

MESSAGES = DOCUMENT["components"]["messages"]
EVENTS_PAGE = (ROOT / "docs/events.md").read_text(encoding="utf-8")


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


@pytest.mark.filterwarnings("ignore:Field name:UserWarning")
def test_it_is_asyncapi_3() -> None:
    need(importlib.util.find_spec("asyncapi3"), "the package asyncapi3", "make install")
    types: Any = importlib.import_module("asyncapi3.models")
    types.AsyncAPI3.model_validate(DOCUMENT)
    broken = json.loads(json.dumps(DOCUMENT))
    broken["operations"]["takeEvents"]["action"] = "listen"
    with pytest.raises(ValueError, match="takeEvents"):
        types.AsyncAPI3.model_validate(broken)


def test_whatever_is_referred_to_is_there_and_everything_is_used() -> None:
    used = set(references(DOCUMENT))
    for reference in used:
        assert resolved(reference) is not None
    defined = {f"#/components/{group}/{name}" for group, found in DOCUMENT["components"].items() for name in found}
    assert defined == {reference for reference in used if reference.startswith("#/components/")}


def test_topics_are_those_of_the_settings() -> None:
    settings = load_settings()
    channels = DOCUMENT["channels"]
    for name, topic in (("events", settings.topic("events")), ("transitions", settings.topic("segment-events"))):
        assert channels[name]["address"] == channels[name]["bindings"]["kafka"]["topic"] == topic


def test_calls_are_those_of_the_openapi_document() -> None:
    for name, kind, schema in (("Track", "track", TRACK), ("Identify", "identify", IDENTIFY)):
        ours = DOCUMENT["components"]["schemas"][name]["properties"]
        assert set(ours) - {"type"} == set(schema["properties"])
        assert refused(name, {"type": kind, **schema["example"]}) == []
        assert refused(name, {"type": "page", **schema["example"]})


def test_a_transition_is_as_it_says_in_every_form() -> None:
    example = json.loads(EVENTS_PAGE[EVENTS_PAGE.index("```json") + 7 :].partition("```")[0])
    for event in (example, json.loads(crossing(1)), json.loads(crossing(2, in_segment=False, score=None))):
        assert refused("Transition", event) == []
        _, value, headers = binary_mode(json.dumps(event).encode())
        assert refused("TransitionData", json.loads(value)) == []
        assert refused("KafkaHeaders", {name: data.decode() for name, data in headers}) == []
    assert refused("Transition", example | {"surprise": 1})
    assert refused("Transition", example | {"data": example["data"] | {"origin": "chance"}})


def test_origins_and_fields_are_those_of_the_code_and_the_page() -> None:
    data = DOCUMENT["components"]["schemas"]["TransitionData"]
    assert data["properties"]["origin"]["enum"] == list(ORIGINS)
    table = EVENTS_PAGE[EVENTS_PAGE.index("## The data") :].partition("\n## ")[0].partition("| origin |")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == data["required"] == list(data["properties"])


def test_what_is_told_to_lists_is_as_it_says() -> None:
    endpoint = Endpoint("au_1", "https://lists.example.org/", "", 0.0, audience="orders_7d.high")
    for is_in in (True, False):
        body = body_of(endpoint, "id-1", "ann", is_in=is_in, now_s=1_780_000_000.0)
        assert refused("AudienceChange", json.loads(body)) == []
        headers = headers_of(Secrets(write_secret(b"x" * 32)), "id-1", 1_780_000_000.0, body)
        assert refused("Signature", dict(headers)) == []


def test_the_routes_are_those_of_the_page() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert f"`GET {DOCUMENT['channels']['stream']['address']}`" in page
    assert set(MESSAGES) == {"track", "identify", "transition", "transitionSigned", "transitionInKafka", "test"} | {
        "audienceChange"
    }
    assert yaml.safe_dump(DOCUMENT)  # no type of YAML that JSON does not have
    json.dumps(DOCUMENT)
