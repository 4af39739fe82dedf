"""Turn the UCI Online Retail table (Parquet) into Segment-spec events, the same bytes every time.

    python examples/online_retail/make_events.py online_retail.parquet online_retail.ndjson.gz

SOURCE.md says where the data come from and how rows become events.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

COLUMNS = ("InvoiceNo", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")


@dataclass
class Invoice:
    """One invoice; `time` is that of its first line, `revenue` in pounds."""

    number: str
    customer: str
    time: datetime
    country: str
    revenue: float = 0.0
    lines: int = 0

    @property
    def refunded(self) -> bool:
        """Whether the shop gave money back."""
        return self.number.startswith("C") or self.revenue < 0


def invoices(rows: Iterable[tuple[Any, ...]]) -> tuple[list[Invoice], int]:
    """Invoices in order of time, then number, and how many rows had no customer. Rows are in order of `COLUMNS`."""
    found: dict[tuple[str, str], Invoice] = {}
    without_customer = 0
    for number, quantity, time, price, customer, country in rows:
        if customer is None or math.isnan(customer):
            without_customer += 1
            continue
        user = str(int(customer))
        invoice = found.setdefault((number, user), Invoice(number, user, time, country))
        invoice.time = min(invoice.time, time)
        invoice.revenue += quantity * price
        invoice.lines += 1
    return sorted(found.values(), key=lambda invoice: (invoice.time, invoice.number)), without_customer


def events(ordered: Iterable[Invoice]) -> Iterator[dict[str, Any]]:
    """Segment-spec events of the invoices: `identify` where the country is new, then the order or the refund."""
    countries: dict[str, str] = {}
    for invoice in ordered:
        time = invoice.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        common = {"userId": invoice.customer, "timestamp": time}
        if countries.get(invoice.customer) != invoice.country:
            countries[invoice.customer] = invoice.country
            message_id = f"retail-{invoice.number}-{invoice.customer}-country"
            yield {"type": "identify", "messageId": message_id, **common, "traits": {"country": invoice.country}}
        yield {
            "type": "track",
            "messageId": f"retail-{invoice.number}-{invoice.customer}",
            **common,
            "event": "Order Refunded" if invoice.refunded else "Order Completed",
            "properties": {"order_id": invoice.number, "revenue": round(invoice.revenue, 2), "lines": invoice.lines},
        }


def read(source: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of the Parquet file, the columns in order of `COLUMNS`."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(source).iter_batches(columns=list(COLUMNS)):
        yield from zip(*(batch.column(name).to_pylist() for name in COLUMNS), strict=True)


def write(source: Path, target: Path) -> dict[str, int]:
    """Make the events file of a Parquet file. Returns how many of what: events, customers, rows without a customer."""
    ordered, without_customer = invoices(read(source))
    count = 0
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=9, mtime=0) as pack,
    ):
        for event in events(ordered):
            pack.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
            count += 1
    customers = len({invoice.customer for invoice in ordered})
    return {
        "events": count,
        "invoices": len(ordered),
        "customers": customers,
        "rows_without_customer": without_customer,
    }


def main() -> None:
    """Read the first argument, write the second."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for name, count in write(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{name.replace('_', ' ')}: {count}")


if __name__ == "__main__":
    main()
