"""Catalogs and records for the tests of decoding and of files."""

from __future__ import annotations

import json
from typing import Any

from config.catalog import Catalog
from config.loader import loads

PREDICTIONS = """
predictions:
  orders: {name: Orders, window: 7d, goal: {did: Order Completed}}
  big: {name: Big orders, window: 7d, goal: {did: Order Completed, where: {total: {min: 100}, channel: web}}}
"""

SEGMENT = f"""
version: 1
name: shop
features: {{value: revenue, traits: {{country: {{limit: 5}}, age: {{numeric: true}}, vip: {{values: [true]}}}}}}
remember: {{Cart Viewed: {{properties: [products, revenue]}}}}
{PREDICTIONS}
"""

CSV = f"""
version: 1
name: shop
input:
  format: csv
  user: customer
  event: what
  time: when
  value: amount
  message_id: id
  properties: {{total: total, channel: channel}}
  traits: {{country: land, age: years}}
features: {{value: revenue, traits: {{country: {{values: [DE, 7]}}, age: {{numeric: true}}}}}}
{PREDICTIONS}
"""

CSV_HEADER = ["id", "customer", "what", "when", "amount", "total", "channel", "land", "years"]

NDJSON = f"""
version: 1
name: shop
input:
  format: ndjson
  user: who.id
  event: type
  time: {{field: at.ms, unit: ms}}
  value: amount
  message_id: id
  properties: {{total: cart.total, channel: channel}}
  traits: {{country: who.country}}
features: {{value: revenue, traits: [country]}}
{PREDICTIONS}
"""

SIMPLE_CSV = """
version: 1
name: purchases
input: {format: csv, user: user, event: {constant: Order Completed}, time: time, value: value}
features: {value: value}
predictions:
  orders: {name: Orders, window: 7d, goal: {did: Order Completed}}
"""

NOON = "2024-05-31T12:00:00Z"
NOON_S = 1_717_156_800.0


def catalog(text: str, **limits: int) -> Catalog:
    """The catalog of a text, with other limits."""
    return loads(f"{text}\nlimits: {json.dumps(limits)}\n" if limits else text, "test")


def track(**fields: Any) -> bytes:
    """A track event of the Segment spec; a field given as None is null."""
    record = {"type": "track", "userId": "ann", "event": "Order Completed", "timestamp": NOON}
    return json.dumps(record | fields).encode()


def csv_row(**cells: str) -> str:
    """A row for `CSV`, with the cells given and usual ones elsewhere."""
    usual = {"customer": "ann", "what": "Order Completed", "when": NOON}
    return ",".join((usual | cells).get(name, "") for name in CSV_HEADER)
