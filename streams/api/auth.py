"""Who asks: a key as Bearer token, for events also as the user name of Basic, as Segment's SDKs send it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fastapi import Depends, Request
from fastapi.security.http import HTTPBase

from config.errors import StoreUnavailable
from streams.adapters.redis_api_keys import KeyState
from streams.api.asking import KEY_ID
from streams.api.keys import Caller, Role, id_of, is_key_of
from streams.api.limits import RateLimiter
from streams.api.problems import Kind, Problem

CACHE_S: Final = 5.0
"""So long a revoked key may still be taken."""
STALE_S: Final = 300.0
"""So long a key that was good is taken while the store does not answer: then nobody can revoke it either."""
_USE_EVERY_S: Final = 60.0
_MAX_CACHED: Final = 10_000
_MAX_UNKNOWN: Final = 1_000
"""Ids for which there is no key, apart from the others: anybody can name many, and none takes a good one's place."""
_LOOKUPS_PER_S: Final = 50.0
_LOOKUPS_AT_ONCE: Final = 200
"""Questions to the store about ids that no key was found for yet, of all callers together."""

BEARER: Final = HTTPBase(
    scheme="bearer", scheme_name="key", description="The whole key, `tl_ROLE_ID_SECRET`.", auto_error=False
)
BASIC: Final = HTTPBase(
    scheme="basic",
    scheme_name="write_key",
    description="As Segment's SDKs do: the key as user name (their write key), and no password.",
    auto_error=False,
)


class KeyStore(Protocol):
    """Where keys are kept; see `streams.adapters.redis_api_keys.RedisApiKeys`. Used from other threads."""

    def find(self, key_id: str) -> KeyState | None: ...

    def note_use(self, key_id: str, now_s: float) -> None: ...


@dataclass(slots=True)
class _Cached:
    state: KeyState | None
    told_s: float
    """When the store said so, of the clock that never goes back."""
    asked_s: float
    """When it was asked last, also in vain: a store that hangs is not asked again by every request."""

    def holds(self, now_s: float) -> bool:
        """Whether the store need not be asked now."""
        return now_s - self.asked_s < CACHE_S and now_s - self.told_s < STALE_S


class Authenticator:
    """Finds out who asks and whether they may; keeps what the store said of a key for `CACHE_S`."""

    def __init__(
        self,
        keys: KeyStore,
        limiter: RateLimiter,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._limiter = limiter
        self._clock = clock
        self._wall = wall
        self._cache: dict[str, _Cached] = {}
        """Keys that there are, also revoked ones."""
        self._unknown: dict[str, _Cached] = {}
        self._lookups = RateLimiter(_LOOKUPS_PER_S, _LOOKUPS_AT_ONCE, clock)

    async def caller(self, header: str | None, wanted: Role, *, basic: bool) -> Caller:
        """Who asks. Raises `Problem`: 401 without a good key, 403 with a weaker one, 429 beyond its rate, 503 while
        others try many keys that there are not, for one that is not known here yet.

        Raises StoreError where the store is needed and does not answer.
        """
        key = _key_in(header, basic=basic)
        key_id = None if key is None else id_of(key)
        state = None if key_id is None else await self._state(key_id)
        if key is None or state is None or not is_key_of(key, state.record) or state.revoked_s is not None:
            raise _unauthorized(key, basic=basic)
        role = Role(state.record.role)
        self._limiter.check(state.record.id)
        if not role.allows(wanted):
            raise Problem(Kind.FORBIDDEN, f"this needs a key of the role {wanted}, and this one has {role}")
        KEY_ID.set(state.record.id)
        return Caller(state.record.id, role, state.record.name)

    async def known(self, key_id: str) -> Caller | None:
        """Who has a key that was let in before; None if it was revoked since. Raises `Problem` beyond its rate.

        Raises StoreError where the store is needed and does not answer.
        """
        state = await self._state(key_id)
        if state is None or state.revoked_s is not None:
            return None
        self._limiter.check(key_id)
        KEY_ID.set(key_id)
        return Caller(key_id, Role(state.record.role), state.record.name)

    async def is_good(self, key_id: str) -> bool:
        """Whether a key that was let in still would be; for requests that go on for long. Raises StoreError."""
        state = await self._state(key_id)
        return state is not None and state.revoked_s is None

    async def _state(self, key_id: str) -> KeyState | None:
        cached = self._cached(key_id)
        now_s = self._clock()
        if cached is not None and cached.holds(now_s):
            return cached.state
        if key_id not in self._cache:
            self._check_lookup()
        try:
            found = await asyncio.to_thread(self._ask, key_id)
        except StoreUnavailable:
            if cached is not None and cached.state is not None and now_s - cached.told_s < STALE_S:
                cached.asked_s = self._clock()
                return cached.state
            raise
        self._keep(key_id, found)
        return found.state

    def _cached(self, key_id: str) -> _Cached | None:
        return self._cache.get(key_id) or self._unknown.get(key_id)

    def _keep(self, key_id: str, found: _Cached) -> None:
        for kept in (self._cache, self._unknown):
            kept.pop(key_id, None)
        kept, most = (self._unknown, _MAX_UNKNOWN) if found.state is None else (self._cache, _MAX_CACHED)
        kept[key_id] = found
        while len(kept) > most:
            del kept[next(iter(kept))]

    def _check_lookup(self) -> None:
        """Raises `Problem` where the store is asked about too many ids for which no key was found yet."""
        wait_s = self._lookups.take("")
        if wait_s:
            words = "more keys that are not known here are being tried than are looked up; try again in a moment"
            raise Problem(Kind.OVERLOADED, words, headers={"Retry-After": str(max(1, math.ceil(wait_s)))})

    def _ask(self, key_id: str) -> _Cached:
        cached = self._cached(key_id)
        now_s = self._clock()
        if cached is not None and cached.holds(now_s):
            return cached  # somebody else has asked while this waited for a thread
        state = self._keys.find(key_id)
        if state is not None and state.revoked_s is None:
            wall_s = self._wall()
            if state.used_s is None or wall_s - state.used_s >= _USE_EVERY_S:
                self._keys.note_use(key_id, wall_s)
        return _Cached(state, now_s, now_s)


def access(authenticator: Authenticator, wanted: Role, *, basic: bool = False) -> dict[str, Any]:
    """What a route's decorator needs so that only keys of a role come through, and the document says so."""

    async def check(request: Request) -> Caller:
        found = await authenticator.caller(request.headers.get("authorization"), wanted, basic=basic)
        request.state.caller = found
        return found

    schemes: list[Callable[..., Awaitable[Any]]] = [BEARER, BASIC] if basic else [BEARER]
    return {
        "dependencies": [*map(Depends, schemes), Depends(check)],
        "openapi_extra": {"x-tideline-role": wanted.value},
    }


def _key_in(header: str | None, *, basic: bool) -> str | None:
    """The key in an Authorization header; None where there is none that could be one."""
    scheme, _, credentials = (header or "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic" and basic:
        try:
            return base64.b64decode(credentials.strip(), validate=True).decode("ascii").partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _unauthorized(key: str | None, *, basic: bool) -> Problem:
    realm = 'Bearer realm="tideline"' + (', Basic realm="tideline"' if basic else "")
    if key is None:
        how = "Authorization: Bearer KEY" + (", or the key as the user name of Basic" if basic else "")
        return Problem(Kind.UNAUTHORIZED, f"give a key: {how}", headers={"WWW-Authenticate": realm})
    return Problem(Kind.UNAUTHORIZED, "no such key, or it was revoked", headers={"WWW-Authenticate": realm})
