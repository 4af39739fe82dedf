"""Turn the CDNOW master file into events.csv.gz, the same bytes every time.

    python examples/cdnow/make_events.py CDNOW_master.txt examples/cdnow/events.csv.gz

Every line stays, identical ones too: a customer who bought twice on a day for the same money did so twice.
Lines are in order of the date, and within a date in the order of the source.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from pathlib import Path

HEADER = ("customer_id", "date", "number_of_cds", "dollar_value")


def read(source: Path) -> list[tuple[str, str, str, str]]:
    """Rows of the source (blank-separated columns, dates as 19970101), dates as 1997-01-01, sorted by date."""
    rows = []
    for line in source.read_text(encoding="ascii").splitlines()[1:]:
        customer, date, cds, dollars = line.split()
        rows.append((customer, f"{date[:4]}-{date[4:6]}-{date[6:]}", cds, dollars))
    return sorted(rows, key=lambda row: row[1])


def write(rows: list[tuple[str, str, str, str]], target: Path) -> None:
    """CSV with a header, packed without a time stamp or file name so that equal rows give equal bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows)
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=9, mtime=0) as pack,
    ):
        pack.write(text.getvalue().encode("ascii"))


def main() -> None:
    """Read the first argument, write the second."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows = read(Path(sys.argv[1]))
    write(rows, Path(sys.argv[2]))
    print(f"{len(rows)} events of {len({row[0] for row in rows})} customers, {rows[0][1]} to {rows[-1][1]}")


if __name__ == "__main__":
    main()
