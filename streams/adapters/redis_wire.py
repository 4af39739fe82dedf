"""One connection to a Redis or Valkey server, with every way it can fail turned into our errors.

redis-py keeps the socket, the login and the parser; commands come packed (`redis_pack`). A connection never
repeats a command by itself: whoever sends knows whether that would be safe.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from typing import Any, Protocol, cast

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.retry import Retry

from config.errors import StoreError, StoreFull, StoreIncompatible, StoreUnavailable
from config.store_address import hide_password
from streams.adapters.client_errors import CLIENT_ERRORS
from streams.adapters.redis_pack import command

_CLUSTER = "this is one node of a cluster; use redis+cluster://HOST:PORT,HOST:PORT as the address"

_FULL = (
    "the store is full, its server has reached its maxmemory. Give it more and start again: nothing is lost. Lowering "
    "limits.users frees nothing of what is stored"
)

_DISK = (
    "the store's server cannot write to its disk, and so takes no data. Look into its log, give the disk room, and "
    "start again: nothing is lost"
)

_LOGIN = "TIDELINE_REDIS_URL or --store (docs/redis.md, Addresses)"

# The first word of a refusal -> what it is to us, and what to tell. A server that only passes through a state
# (loading, a script that runs, a failover, lost replicas) counts as one that does not answer.
_REFUSALS: dict[str, tuple[type[StoreError], str]] = {
    "OOM": (StoreFull, _FULL),
    "MISCONF": (StoreFull, _DISK),
    "LOADING": (StoreUnavailable, "the server is still loading its data: wait until it has"),
    "BUSY": (StoreUnavailable, "the server is busy with a script: wait, or end that (SCRIPT KILL)"),
    "READONLY": (StoreUnavailable, "the server is a replica and takes no writes: put its primary into the address"),
    "MASTERDOWN": (
        StoreUnavailable,
        "the server has lost its primary: bring that back, or make another server the primary",
    ),
    "NOREPLICAS": (
        StoreUnavailable,
        "the server misses replicas that it is told to wait for: connect them, or lower its min-replicas-to-write",
    ),
    "NOAUTH": (StoreIncompatible, f"the server wants a password: put it into the address, {_LOGIN}"),
    "WRONGPASS": (StoreIncompatible, f"the server refuses the user or the password of the address, {_LOGIN}"),
    "NOPERM": (
        StoreIncompatible,
        "the rights of this login do not suffice; docs/redis.md (Addresses) has the user that is needed",
    ),
    "MOVED": (StoreIncompatible, _CLUSTER),
    "ASK": (StoreIncompatible, _CLUSTER),
    "CROSSSLOT": (StoreIncompatible, _CLUSTER),
    "CLUSTERDOWN": (StoreIncompatible, _CLUSTER),
    "TRYAGAIN": (StoreIncompatible, _CLUSTER),
    "WRONGTYPE": (StoreIncompatible, "a key of ours holds something else; choose another prefix"),
}


class _Connection(Protocol):
    @property
    def is_connected(self) -> bool: ...

    def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None: ...

    def read_response(self) -> Any: ...

    def can_read(self, timeout: float = 0) -> bool: ...

    def disconnect(self) -> None: ...


class Wire:
    """A connection that is made at the first use and made anew at the first use after a failure. One thread at a time.

    Raises StoreUnavailable when there is no answer, StoreIncompatible when the login is refused.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """`url`: of one server, as `parse_store_address` accepts it."""
        # RESP2 from the start: for RESP3, newer versions of redis-py equip a TCP pool with handlers of
        # maintenance notifications, which then refuse every connection that speaks RESP2.
        self._pool = ConnectionPool.from_url(url, protocol=2)
        # Set after the address was read, so that nothing in the address can change how replies are read.
        for name in [name for name in self._pool.connection_kwargs if name.startswith("maint_notifications")]:
            del self._pool.connection_kwargs[name]  # an address with ?protocol=3
        self._pool.connection_kwargs.update(
            protocol=2,
            decode_responses=False,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
        self.name = hide_password(url).partition("?")[0]
        """The address without passwords and options."""
        self.cuts = 0
        """How often the line was cut. What has to stay on one line (a scan, whose cursor means nothing to another
        server) compares it."""
        self.exchanges = 0
        """How often something was asked: who wants to go on where it stopped on this line sees whether nobody else has
        used it since."""
        self._connection: _Connection | None = None
        self._has_answered = False

    def ask(self, *args: bytes | str | int) -> Any:
        """The reply to one command; a refusal is raised as a StoreError."""
        packed = command(*[arg if isinstance(arg, bytes) else str(arg).encode() for arg in args])
        reply = self.exchange([packed])[0]
        if isinstance(reply, exceptions.ResponseError):
            raise refusal(reply, f"{args[0]!s} at {self.name}") from reply
        return reply

    def exchange(self, commands: Sequence[bytes], *, on_same_line: bool = False) -> list[Any]:
        """Send packed commands at once; one reply each, a refusal as an exception object in its place.

        `on_same_line`: the commands rely on something that was said on this connection before (WATCH), so a
        connection that was lost in between is an error instead of being made anew.
        """
        connection = self._connection
        self.exchanges += 1
        try:
            if connection is None:
                connection = self._connection = cast("_Connection", self._pool.get_connection())
            if not on_same_line:
                self._leave_if_closed(connection)
            elif not connection.is_connected:
                raise _noted(StoreUnavailable(f"{self.name}: the connection was lost within a commit"))
            connection.send_packed_command([b"".join(commands)], check_health=False)
            replies = [_reply(connection) for _ in commands]
            self._has_answered = True
            return replies
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            self.drop()
            words = f"{self.name} refuses the login ({error}): correct user and password in {_LOGIN}"
            raise _noted(StoreIncompatible(words)) from error
        except exceptions.ResponseError as error:  # from the greeting of a new connection
            self.drop()
            raise refusal(error, f"connecting to {self.name}") from error
        except (exceptions.RedisError, OSError) as error:
            self.drop()
            if _is_about_tls(error):
                raise _noted(StoreIncompatible(f"{self.name} cannot be talked to by TLS: {error}")) from error
            raise _noted(StoreUnavailable(f"{self.name} does not answer: {self._why(error)}")) from error
        except BaseException:
            # An interrupt between question and answer: the next reply would be taken for another question's.
            self.drop()
            raise

    def _leave_if_closed(self, connection: _Connection) -> None:
        """A line that its server has closed since it was used last, or on which something came that nobody asked for.

        Else each line that waited through a start of the server would fail once more, long after it is back. Nothing
        is on its way there, so nothing is said twice.
        """
        if not connection.is_connected:
            return
        try:
            is_over = connection.can_read(timeout=0)
        except (exceptions.RedisError, OSError):
            is_over = True
        if is_over:
            self.drop()

    def _why(self, error: Exception) -> str:
        """With what to look at where nobody has ever answered; an embedded server has an address that nobody wrote."""
        if self._has_answered or self.name.startswith("unix:"):
            return str(error)
        words = "Does a Redis or Valkey run there, and is the address right (--store, or TIDELINE_REDIS_URL)?"
        return f"{str(error).rstrip('.')}. {words}"

    @property
    def is_connected(self) -> bool:
        """Whether there is a line, as far as is known on this side."""
        return self._connection is not None and self._connection.is_connected

    def drop(self) -> None:
        """Cut the line; the next use makes a new one."""
        self.cuts += 1
        if self._connection is not None:
            self._connection.disconnect()

    def close(self) -> None:
        self._connection = None
        self._pool.disconnect()


def _reply(connection: _Connection) -> Any:
    try:
        return connection.read_response()
    except exceptions.ResponseError as refused:
        return refused


def _is_about_tls(error: BaseException | None) -> bool:
    """Whether a connection failed for certificates or keys, which no second try changes."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and re.search("CERT|UNKNOWN_CA|KEY|WRONG_VERSION", error.reason or ""):
            return True
        error = error.__context__
    return False


def refusal(error: exceptions.ResponseError, doing: str) -> StoreError:
    """Our error for what a server answered instead of a result."""
    text = str(error)
    code = str(error.status_code or text.partition(" ")[0])
    if code == "EXECABORT":  # "Transaction discarded because of: OOM command not allowed ..."
        code = text.rpartition("because of: ")[2].partition(" ")[0]
    kind, advice = _REFUSALS.get(code, (StoreError, "the server refuses"))
    return _noted(kind(f"{doing}: {advice} ({text})"))


def _noted(error: StoreError) -> StoreError:
    """The same; it is counted."""
    CLIENT_ERRORS.note("redis", error)
    return error
