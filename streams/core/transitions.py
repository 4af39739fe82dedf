"""A change of membership as the CloudEvent that goes out (docs/events.md).

Written as bytes from parts that are made once per segment: in a replay transitions come by the hundred thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from urllib.parse import quote

import msgspec
import numpy as np

from models.jit import F32, F64, I64, U8, const, jit
from streams.core.definitions import CATEGORIES, Definitions
from streams.core.json_text import put, put_digits, put_fixed, put_share, put_time
from streams.core.state import (
    DELETED,
    LIFE_STEP,
    O_CATEGORY,
    O_ENTERED,
    O_GOAL,
    O_LIKELIHOOD,
    O_ORIGIN,
    O_PREVIOUS_CATEGORY,
    O_PREVIOUS_SCORE,
    O_SCORE,
    O_SEGMENT,
    O_SEQUENCE,
    O_TIME,
    O_VERSION,
    OI_SIZE,
    ORIGINS,
    UNKNOWN,
    Out,
)

ENTERED_TYPE = "tideline.segment.entered.v1"
EXITED_TYPE = "tideline.segment.exited.v1"
REASONS = 5

# The part with the numbers is written by compiled code: the text before a field, the field, and so on. A field is a
# column of the out buffer (integers as `_whole_fields` gives them) and how it is written: as a kind of number, or as a
# word, counted from the given one of `_WORDS`.
_AS_WHOLE, _AS_SCORE, _AS_SHARE, _AS_TIME, _AS_KNOWN = -1, -2, -3, -4, -5
_WORDS = ("false", "true", *(f'"{word}"' for word in (*ORIGINS, *CATEGORIES)), "null")
_TRUTH, _ORIGIN, _CATEGORY = 0, 2, 2 + len(ORIGINS)
_ENTRY_COUNT, _REENTRY = OI_SIZE, OI_SIZE + 1
_FIELDS = (
    ("", O_TIME, _AS_TIME),
    ('"model_version":', O_VERSION, _AS_KNOWN),
    (',"score":', O_SCORE, _AS_SCORE),
    (',"previous_score":', O_PREVIOUS_SCORE, _AS_SCORE),
    (',"likelihood":', O_LIKELIHOOD, _AS_SHARE),
    (',"category":', O_CATEGORY, _CATEGORY),
    (',"previous_category":', O_PREVIOUS_CATEGORY, _CATEGORY),
    (',"origin":', O_ORIGIN, _ORIGIN),
    (',"caused_by_goal":', O_GOAL, _TRUTH),
    (',"entered_at":"', O_ENTERED, _AS_TIME),
    ('","entry_count":', _ENTRY_COUNT, _AS_WHOLE),
    (',"is_reentry":', _REENTRY, _TRUTH),
)
_REASONS, _LOW, _HIGH, _CLOSE, _END, _FIRST_WORD = range(len(_FIELDS), len(_FIELDS) + 6)
_FIRST_FEATURE = _FIRST_WORD + len(_WORDS)
_NULL = _FIRST_WORD + _WORDS.index("null")
_LEVELS = ('low","contribution":', 'high","contribution":')
_ALL_TEXTS = (*(field[0] for field in _FIELDS), ',"reasons":[', *_LEVELS, "}", "]}}", *_WORDS)
_TEXTS = [text.encode() for text in _ALL_TEXTS]
_PLACES = np.array([(column, kind if kind < 0 else kind + _FIRST_WORD) for _, column, kind in _FIELDS], np.int64)
_ONE, _TWO_DECIMALS, _FOUR_DECIMALS = const(1), const(2), const(4)
_ROW_BYTES = 640  # more than the part of a row without its reasons
_REASON_BYTES = 48  # more than one reason without its feature


def _frame(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


def transition_id(generation: str, shard: int, user: str, segment: str, sequence: int) -> str:
    """The id of a transition: 128 bits of BLAKE2b over what makes it unique, each part after its length."""
    head = _frame(generation) + _frame(str(shard)) + _frame(segment)
    return blake2b(head + _frame(user) + _frame(str(sequence)), digest_size=16).hexdigest()


class _Texts:
    """All texts of the part with the numbers, one behind the other, for features of these names."""

    def __init__(self, names: Sequence[str]) -> None:
        features = [b',{"feature":%s,"level":"' % msgspec.json.encode(name) for name in names]
        texts = [*_TEXTS, *features]
        self.names = names
        self.text: U8 = np.frombuffer(b"".join(texts), np.uint8)
        self.starts: I64 = np.cumsum([0, *(len(text) for text in texts)])
        self.row_bytes = _ROW_BYTES + REASONS * (_REASON_BYTES + max(len(text) for text in features))


class TransitionWriter:
    """Writes the loop's transitions as CloudEvents 1.0 in JSON (structured mode)."""

    def __init__(self, definitions: Definitions, generation: str, shard: int) -> None:
        self._only = definitions.segments.only
        # A source is a URI reference, and a name may be any text.
        source = msgspec.json.encode(f"tideline/{quote(definitions.catalog.name, safe='')}/{shard}")
        kinds = (EXITED_TYPE.encode(), ENTERED_TYPE.encode())
        self._heads = [b'","source":%s,"type":"%s","subject":' % (source, kind) for kind in kinds]
        self._segments = [self._segment_part(definitions, g) for g in range(len(definitions.segment_ids))]
        hashed = [_frame(generation) + _frame(str(shard)) + _frame(name) for name in definitions.segment_ids]
        self._hashes = [blake2b(head, digest_size=16) for head in hashed]
        self._texts: _Texts | None = None

    @staticmethod
    def _segment_part(d: Definitions, g: int) -> tuple[bytes, bytes]:
        """What each exit from and entry into segment `g` says of the segment."""
        only = int(d.segments.only[g])
        part = {"segment_id": d.segment_ids[g], "segment_name": d.segment_names[g]}
        tail = {"prediction_id": d.prediction_ids[only] if only >= 0 else None}
        head, end = msgspec.json.encode(part)[1:-1], msgspec.json.encode(tail)[1:-1]
        return (b',%s,"in_segment":false,%s,' % (head, end), b',%s,"in_segment":true,%s,' % (head, end))

    def write(
        self,
        out: Out,
        n: int,
        users: Sequence[str],
        causes: Sequence[str | None],
        weights: F64,
        means: F64,
        names: Sequence[str],
    ) -> list[bytes]:
        """The first `n` transitions of the out buffer, of these users and caused by these messages.

        Their reasons are the strongest contributions: how far a feature moves the logit from that of a user with
        average features, with whether it is above average (`models.reasons.describe` makes words of both). `weights`,
        `means` [predictions, features]; `names` of the features.
        """
        if self._texts is None or self._texts.names != names:
            self._texts = _Texts(names)
        texts, ends = _write_numbers(out, n, self._only, weights, means, self._texts)
        rows = zip(
            out.whole[:n, O_SEGMENT].tolist(), out.whole[:n, O_SEQUENCE].tolist(), users, causes, ends, strict=True
        )
        written: list[bytes] = []
        start = 0
        known, name, framed = None, b"", b""
        for g, sequence, user, caused_by, (middle, end) in rows:
            if user != known:  # transitions of one user mostly come together: an exit and an entry
                known, name, framed = user, msgspec.json.encode(user), _frame(user)
            entering = sequence & 1
            digest = self._hashes[g].copy()
            digest.update(framed + _frame(str(sequence)))
            cause = b"" if caused_by is None else b',"causationid":' + msgspec.json.encode(caused_by)
            pieces = (
                b'{"specversion":"1.0","id":"',
                digest.hexdigest().encode(),
                self._heads[entering],
                name,
                b',"time":"',
                texts[start:middle],
                b'","datacontenttype":"application/json","sequence":"%010d","partitionkey":' % sequence,
                name,
                cause,
                b',"data":{"user_id":',
                name,
                self._segments[g][entering],
                texts[middle:end],
            )
            written.append(b"".join(pieces))
            start = end
        return written


def _write_numbers(
    out: Out, n: int, only: I64, weights: F64, means: F64, texts: _Texts
) -> tuple[bytes, list[list[int]]]:
    """Of every row its time and its end, one after the other, and where each of the two ends, [n, 2]."""
    buffer: U8 = np.empty(n * texts.row_bytes, np.uint8)
    place: I64 = np.zeros((n, REASONS), np.int64)
    high: I64 = np.zeros((n, REASONS), np.int64)
    moved: F64 = np.zeros((n, REASONS))
    ends: I64 = np.empty((n, 2), np.int64)
    explained = np.where(out.whole[:n, O_ORIGIN] == DELETED, UNKNOWN, only[out.whole[:n, O_SEGMENT]])
    _pick_strongest(out.x[:n], explained, weights, means, place, high, moved)
    whole, real = _whole_fields(out, n), out.real[:n]
    used = _write_rows(whole, real, place, high, moved, texts.text, texts.starts, buffer, ends)
    return buffer[:used].tobytes(), ends.tolist()


def _whole_fields(out: Out, n: int) -> I64:
    """The integers of the out buffer as they are written: no category is the last word, entries are counted."""
    whole = np.empty((n, OI_SIZE + 2), np.int64)
    whole[:, :OI_SIZE] = out.whole[:n]
    for column in (O_CATEGORY, O_PREVIOUS_CATEGORY):
        np.minimum(whole[:, column], len(CATEGORIES), out=whole[:, column])
    whole[:, _ENTRY_COUNT] = (whole[:, O_SEQUENCE] % LIFE_STEP + 1) // 2  # of this life alone
    whole[:, _REENTRY] = whole[:, _ENTRY_COUNT] > 1
    return whole


@jit
def _pick_strongest(x: F32, only: I64, weights: F64, means: F64, place: I64, high: I64, moved: F64) -> None:
    """The strongest first, of equal ones the first column; what is left stays 0. `high`: 1 above the mean."""
    top = moved.shape[1]
    for n in range(x.shape[0]):
        p = only[n]
        if p < 0:
            continue
        for j in range(x.shape[1]):
            v = (np.float64(x[n, j]) - means[p, j]) * weights[p, j]
            if abs(v) <= abs(moved[n, top - 1]):
                continue
            at = top - 1
            while at > 0 and abs(v) > abs(moved[n, at - 1]):
                moved[n, at] = moved[n, at - 1]
                place[n, at] = place[n, at - 1]
                high[n, at] = high[n, at - 1]
                at -= 1
            moved[n, at] = v
            place[n, at] = j
            high[n, at] = 1 if x[n, j] > means[p, j] else 0


@jit
def _write_rows(
    whole: I64, real: F64, place: I64, high: I64, moved: F64, text: U8, starts: I64, buffer: U8, ends: I64
) -> int:
    """See `_write_numbers`; returns the bytes used."""
    at = 0
    for n in range(whole.shape[0]):
        for field in range(_PLACES.shape[0]):
            at = put(buffer, at, text, starts[field], starts[field + 1])
            column = _PLACES[field, 0]
            kind = _PLACES[field, 1]
            if kind == _AS_WHOLE:
                at = put_digits(buffer, at, whole[n, column], _ONE)
            elif kind == _AS_SCORE:
                at = put_fixed(buffer, at, real[n, column], _TWO_DECIMALS)
            elif kind == _AS_SHARE:
                at = put_share(buffer, at, real[n, column])
            elif kind == _AS_TIME:
                at = put_time(buffer, at, real[n, column])
            elif kind == _AS_KNOWN and whole[n, column] >= 0:
                at = put_digits(buffer, at, whole[n, column], _ONE)
            else:
                word = _NULL if kind == _AS_KNOWN else kind + whole[n, column]
                at = put(buffer, at, text, starts[word], starts[word + 1])
            if field == 0:
                ends[n, 0] = at
        at = put(buffer, at, text, starts[_REASONS], starts[_REASONS + 1])
        at = _put_reasons(buffer, at, place[n], high[n], moved[n], text, starts)
        at = put(buffer, at, text, starts[_END], starts[_END + 1])
        ends[n, 1] = at
    return at


@jit
def _put_reasons(buffer: U8, at: int, places: I64, high: I64, moved: F64, text: U8, starts: I64) -> int:
    """Those that are not 0, strongest first."""
    for k in range(moved.shape[0]):
        if moved[k] != 0.0:
            feature = _FIRST_FEATURE + places[k]
            first = starts[feature] + (1 if k == 0 else 0)  # without the comma
            at = put(buffer, at, text, first, starts[feature + 1])
            at = put(buffer, at, text, starts[_LOW + high[k]], starts[_LOW + high[k] + 1])
            at = put_fixed(buffer, at, moved[k], _FOUR_DECIMALS)
            at = put(buffer, at, text, starts[_CLOSE], starts[_CLOSE + 1])
    return at
