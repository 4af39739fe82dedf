"""Who uses a service while its parts are killed: a shop that sends, somebody who defines, and who takes webhooks.

Each writes down what was answered, or what came, to be held against what the service has in the end.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import Any

from standardwebhooks import Webhook

from streams.client import Client, Kind
from tests.conftest import SLOWNESS
from tests.post_server import PostServer

ORDER = "Order Completed"
PREDICTION_AT = 5
"""Behind so many segments the prediction is made."""
USERS = 40
BATCH = 20
PAUSE_S = 0.05
"""Between two batches, and between two attempts at something that was refused or not answered."""
_ATTEMPTS = 4_000


def client_of(url: str, key: str) -> Client:
    """One that does not give up while parts of the service come back."""
    return Client(url, key, attempts=_ATTEMPTS, timeout_s=30.0, sleep=lambda pause_s: time.sleep(min(pause_s, PAUSE_S)))


class Asker(threading.Thread):
    """Does the `ask` of a subclass until it is told to end."""

    def __init__(self, name: str, url: str, key: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ending = threading.Event()
        self.failure: Exception | None = None
        self._client = client_of(url, key)

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            with self._client:
                self.ask()
        except Exception as error:  # noqa: BLE001  raised in the test's own thread
            self.failure = error

    def ask(self) -> None:
        """Until `ending` is set; everything is asked until it is answered."""
        raise NotImplementedError

    def end(self) -> None:
        """When the last thing that it asked is answered. Raises what it has failed by."""
        self.ending.set()
        self.join(120.0 * SLOWNESS)
        assert not self.is_alive(), f"what the {self.name} asked last was not answered"
        if self.failure is not None:
            raise self.failure


class Shop(Asker):
    """Sends events of `USERS` users until it is told to end; every event is sent until it is answered."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__("shop", url, key)
        self.answered: Counter[str] = Counter()
        """Events of each user that were answered."""

    def ask(self) -> None:
        number = 0
        while not self.ending.wait(PAUSE_S):
            users = [f"user-{(number + n) % USERS}" for n in range(BATCH)]
            calls = [
                {"type": "track", "userId": user, "event": ORDER, "messageId": f"m-{number + n}"}
                for n, user in enumerate(users)
            ]
            answer = self._client.batch(calls)
            assert (answer["accepted"], answer["unusable"]) == (BATCH, 0)
            self.answered.update(users)
            number += BATCH


class Definer(Asker):
    """Makes and archives segments, and makes a prediction; each change is asked until it is answered."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__("definer", url, key)
        self.answered: dict[tuple[Kind, str], tuple[dict[str, Any], bool]] = {}
        """The definition that was answered last, and whether it is archived."""

    def ask(self) -> None:
        number = 0
        while not self.ending.wait(10 * PAUSE_S):
            number += 1
            words, filter_ = f"Has ordered {5 * number} times", {"event": ORDER, "count": {"min": 5 * number}}
            self._make("segment", f"orders_{number}", {"name": words, "filter": filter_})
            if number == PREDICTION_AT:
                self._make("prediction", "again", {"name": "Again", "goal": {"did": ORDER}, "window": "1d"})
            if number % 3 == 0:
                self._archive(f"orders_{number - 1}")

    def _make(self, kind: Kind, id_: str, definition: dict[str, Any]) -> None:
        made = self._client.create(kind, {"id": id_, **definition})
        self.answered[kind, id_] = made.data["definition"], False

    def _archive(self, id_: str) -> None:
        archived = self._client.archive("segment", id_)
        self.answered["segment", id_] = archived.data["definition"], True


class Receiver(PostServer):
    """Takes webhooks; every one is verified by the official library before it counts. Use as a context manager."""

    def __init__(self, secret: str = "") -> None:
        super().__init__()
        self.received: dict[str, bytes] = {}
        """Id: body."""
        self.repeated = 0
        self.wrong: list[str] = []
        self.secret = secret
        self.is_refusing = False
        """Whether every delivery fails, and none is taken."""
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.address}/"

    def posted(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if self.is_refusing:
            return 500, b""
        self.take(headers, body)
        return 204, b""

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """One delivery."""
        try:
            event = Webhook(self.secret).verify(body.decode(), headers)
        except Exception as error:  # noqa: BLE001  whatever the library says is told by the test
            self.wrong.append(repr(error))
            return
        id_ = headers["webhook-id"]
        with self._lock:
            if event["id"] != id_ or self.received.get(id_, body) != body:
                self.wrong.append(f"{id_}: another event under the same id")
            self.repeated += id_ in self.received
            self.received[id_] = body

    def crossings(self) -> dict[tuple[str, str, int], set[str]]:
        """The ids of every (user, segment, sequence)."""
        found: dict[tuple[str, str, int], set[str]] = {}
        for id_, body in self.received.items():
            event = json.loads(body)
            place = event["subject"], event["data"]["segment_id"], int(event["sequence"])
            found.setdefault(place, set()).add(id_)
        return found
