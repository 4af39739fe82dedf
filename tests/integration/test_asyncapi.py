"""Every transition that a shop's run has published, against docs/asyncapi.yaml and the official CloudEvents library."""

from __future__ import annotations

import json

import pytest
from cloudevents.core.formats.json import JSONFormat

from streams.adapters.kafka_publisher import binary_mode
from streams.trace_context import with_trace
from tests.asyncapi_document import DOCUMENT, refused
from tests.integration.shop_world import Shop
from tests.span_world import CONTEXT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STEP = 7
"""Every seventh is enough to meet all kinds, and a validation takes a while."""


def test_what_is_published_is_as_the_document_says(shop: Shop) -> None:
    lines = (shop.folder / "transitions.ndjson").read_bytes().splitlines()
    schemas = DOCUMENT["components"]["schemas"]
    seen: set[str] = set()
    told: dict[str, set[str]] = {"type": set(), "origin": set()}
    for line in [*lines[::STEP], with_trace(lines[0], CONTEXT)]:
        event = json.loads(line)
        assert refused("Transition", event) == []
        official = JSONFormat().read(None, line)
        assert (official.get_id(), official.get_subject()) == (event["id"], event["subject"])
        assert official.get_data() == event["data"]
        _, _, headers = binary_mode(line)
        assert refused("KafkaHeaders", {name: data.decode() for name, data in headers}) == []
        seen |= set(event) | set(event["data"])
        told["type"].add(event["type"])
        told["origin"].add(event["data"]["origin"])
    assert seen == set(schemas["Transition"]["properties"]) | set(schemas["TransitionData"]["properties"])
    assert told["type"] == set(schemas["Transition"]["properties"]["type"]["enum"])
    assert {"live", "decay", "model", "backfill"} <= told["origin"]
