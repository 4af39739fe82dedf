"""Transitions as the core writes them, for tests of what reads them."""

from __future__ import annotations

import json
from typing import Any


def crossing(number: int, user: str = "ann", segment: str = "orders_7d.high", **data: Any) -> bytes:
    """One CloudEvent; its id is the number."""
    told = {
        "user_id": user,
        "segment_id": segment,
        "segment_name": "Orders within 7 days: high",
        "in_segment": True,
        "prediction_id": "orders_7d",
        "model_version": 3,
        "score": 81.42,
        "previous_score": 73.9,
        "likelihood": 0.2318,
        "category": "high",
        "previous_category": "medium",
        "origin": "live",
        "caused_by_goal": False,
        "entered_at": "2024-06-03T09:12:44Z",
        "entry_count": 1,
        "is_reentry": False,
        "reasons": [],
    } | data
    way = "entered" if told["in_segment"] else "exited"
    event = {
        "specversion": "1.0",
        "id": f"{number:032x}",
        "source": "tideline/shop/0",
        "type": f"tideline.segment.{way}.v1",
        "subject": user,
        "time": "2024-06-03T09:12:44Z",
        "datacontenttype": "application/json",
        "sequence": "0000000001",
        "partitionkey": user,
        "causationid": f"message-{number}",
        "data": told,
    }
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


FOREIGN = [
    b"null",
    b"",
    b"\xff",
    b"[" * 100_000,
    crossing(0).replace(b'"data":{', b'"data":null,"was":{'),
    crossing(0).replace(b'"segment_id"', b'"part"'),
    crossing(0).replace(b'"2024-06-03T09:12:44Z","datac', b'"noon","datac'),
    crossing(0).replace(b"tideline.segment.entered.v1", b"shop.order.v1"),
]
"""Records that others may have written: no transitions."""
