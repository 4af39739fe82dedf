"""Transitions in Kafka, against the official library of CloudEvents and the page that describes them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event, to_binary_event
from cloudevents.core.formats.json import JSONFormat

from streams.adapters.kafka_publisher import binary_mode
from tests.conftest import ROOT
from tests.span_world import CONTEXT

PAGE = (ROOT / "docs/events.md").read_text(encoding="utf-8")
ODD = "eve ä\u4e00%\x1b\n"


def example(**changes: Any) -> bytes:
    """The transition of the page, with other fields of its envelope."""
    found = json.loads(PAGE[PAGE.index("```json") + 7 :].partition("```")[0]) | changes
    return json.dumps({name: value for name, value in found.items() if value is not None}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "transition",
    [example(), example(causationid=None), example(subject=ODD, partitionkey=ODD, causationid=ODD)],
    ids=["as on the page", "without a cause", "odd names"],
)
def test_a_record_is_what_the_official_library_makes_and_reads(transition: bytes) -> None:
    key, value, headers = binary_mode(transition)
    event = JSONFormat().read(None, transition)
    official = to_binary_event(event)
    assert dict(headers) == official.headers
    assert len(headers) == len(official.headers)
    assert key.decode() == official.key
    assert json.loads(value) == json.loads(official.value)
    read = from_kafka_event(KafkaMessage(dict(headers), key, value))
    assert read.get_attributes() == event.get_attributes()
    assert read.get_data() == event.get_data()


def test_what_is_traced_has_the_attribute_as_the_official_library_writes_it_and_a_plain_header_beside_it() -> None:
    _, _, headers = binary_mode(example(traceparent=CONTEXT))
    official = to_binary_event(JSONFormat().read(None, example(traceparent=CONTEXT)))
    assert dict(headers) == {**official.headers, "traceparent": CONTEXT.encode()}


def test_the_page_names_every_header() -> None:
    section = PAGE[PAGE.index("## In Kafka") :].partition("\n## ")[0]
    told = re.findall(r"`(ce_\w+|content-type|traceparent)`", section)
    assert sorted(told) == sorted(name for name, _ in binary_mode(example(traceparent=CONTEXT))[2])
