"""Addresses of the store: one server, the nodes of a cluster, or the sentinels that know where the primary is.

`redis://`, `rediss://` (TLS) and `unix://` are read as redis-py reads them. `redis+cluster://HOST:PORT,HOST:PORT` and
`redis+sentinel://HOST:PORT,HOST:PORT/SERVICE` (TLS: `rediss+...`) name several servers to begin with; login and options
are those of one server, and hold for all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from config.problems import suggest

__all__ = ["SCHEMES", "StoreAddress", "hide_password", "parse_store_address"]

Kind: TypeAlias = Literal["cluster", "sentinel"]

SCHEMES: Final = "redis://, rediss:// or unix://, redis+cluster:// or redis+sentinel:// (with TLS rediss+...)"

_PORTS: Final = {"cluster": 6379, "sentinel": 26379}
_TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
)
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_LOGIN: Final = ("sentinel_username", "sentinel_password")
# The last line: what the adapter decides by itself, whatever an address says.
_OPTIONS: Final = (
    *("client_name", "db", "password", "socket_keepalive", "username"),
    *("decode_responses", "health_check_interval", "protocol", "socket_connect_timeout", "socket_timeout"),
)


@dataclass(frozen=True, slots=True, repr=False)
class StoreAddress:
    """Where the store is. It holds passwords: `hide_password` makes a text for people of any of its addresses."""

    url: str
    kind: Kind | None = None
    """None for one server, whose address `url` is."""
    hosts: tuple[tuple[str, int], ...] = ()
    """The nodes or sentinels to begin with."""
    service: str = ""
    """The name under which the sentinels know the primary."""
    scheme: str = "redis"
    login: str = ""
    """As in an address, with the `@` behind it."""
    sentinel_login: str = ""
    database: str = ""
    options: str = ""
    """As in an address, with the `?` before them."""

    def server(self, host: str, port: int) -> str:
        """The address of one server of the store."""
        return f"{self.scheme}://{self.login}{_bracketed(host)}:{port}{self.database}{self.options}"

    def sentinel(self, host: str, port: int) -> str:
        """The address of a sentinel, which has a login of its own."""
        return f"{self.scheme}://{self.sentinel_login}{_bracketed(host)}:{port}{self.options}"

    @property
    def name(self) -> str:
        """For messages: without passwords and options."""
        return hide_password(self.url).partition("?")[0]


def parse_store_address(url: str) -> StoreAddress:
    """Raises ValueError that says what is expected, and shows nothing of what was given but names."""
    scheme, colon, rest = url.partition("://")
    base, plus, kind = scheme.partition("+")
    kinds = () if base == "unix" else get_args(Kind)
    if not colon or base not in ("redis", "rediss", "unix") or (plus and kind not in kinds):
        raise ValueError(f"an address that begins with {SCHEMES}")
    where, _, query = rest.partition("?")
    options = _options(query, tls=base == "rediss", kind=kind)
    authority, slash, path = where.partition("/")
    login, at, named = authority.rpartition("@")
    if kind:
        return _several(url, base, cast("Kind", kind), login + at, named, path, options)
    _one(base, named, slash + path)
    return StoreAddress(url)


def hide_password(url: str) -> str:
    """The address without its passwords, for messages."""
    # By names as they are read: in any case of letters, and with % before the codes of some of them.
    url = re.sub(
        r"([?&])([^=&]*)=[^&]*", lambda m: f"{m[1]}{m[2]}=***" if "password" in unquote(m[2]).lower() else m[0], url
    )
    head, at, tail = url.rpartition("@")
    if not at or "://" not in head:
        return url
    scheme, _, login = head.partition("://")
    user = login.partition(":")[0]
    return f"{scheme}://{user}{':***' if ':' in login else ''}@{tail}"


def _one(scheme: str, host: str, path: str) -> None:
    """Raises ValueError for the address of one server in which redis-py would overlook a mistake."""
    if scheme == "unix":
        if host or len(path) < 2:
            raise ValueError("the full path of a socket: unix:///PATH")
        return
    if "," in host:
        raise ValueError(
            f"one server behind {scheme}://; several are the nodes of a cluster ({scheme}+cluster://) or sentinels "
            f"({scheme}+sentinel://HOST:PORT,HOST:PORT/SERVICE)"
        )
    _host(host or "localhost", 6379)
    if path not in ("", "/") and not path[1:].isdecimal():
        raise ValueError(f"a number of a database, or nothing, behind {scheme}://HOST:PORT/")


def _several(
    url: str, scheme: str, kind: Kind, login: str, named: str, path: str, options: dict[str, str]
) -> StoreAddress:
    hosts = tuple(_host(part, _PORTS[kind]) for part in named.split(","))
    service, slash, database = path.partition("/")
    if kind == "cluster" and path not in ("", "0"):
        raise ValueError("no database behind the nodes: a cluster has only number 0")
    if kind == "sentinel" and (not service or (slash and not database.isdecimal())):
        raise ValueError(f"the name of the service behind the sentinels: {scheme}+sentinel://HOST:PORT/SERVICE")
    names = {name: options.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    user, password = (quote(names[name], safe="") for name in ("username", "password"))
    return StoreAddress(
        url=url,
        kind=kind,
        hosts=hosts,
        service=unquote(service),
        scheme=scheme,
        login=login,
        sentinel_login=f"{user}:{password}@" if user or password else "",
        database=f"/{database}" if kind == "sentinel" and database else "",
        options="?" + urlencode(options) if options else "",
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port == 0 or text.endswith(":") or not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise ValueError("HOST:PORT behind ://, with a port from 1 to 65535, several with commas between them")
    return host, port or default_port


def _options(query: str, *, tls: bool, kind: str) -> dict[str, str]:
    """What stands behind `?`. Raises ValueError for what is none, and for options that would do nothing."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = {*_OPTIONS, *_TLS_OPTIONS, *_SENTINEL_LOGIN}
    for name, value in options.items():
        if name not in known:
            meant = suggest(name, known)  # what is like no option may be a part of a password
            raise ValueError(
                f"options of a connection behind ?, not {f'{name!r}{meant}' if meant else 'something else'}"
            )
        if name in _TLS_OPTIONS and not tls:
            raise ValueError(f"rediss, which is TLS, where there is an option {name}")
        if name in _SENTINEL_LOGIN and kind != "sentinel":
            raise ValueError(f"redis+sentinel:// where there is an option {name}")
        if name in _FILES and not Path(value).is_file():
            raise ValueError(f"a file behind {name}=, and there is none of that name")
    if kind and "db" in options:
        raise ValueError("the database as a part of the path, behind the service of the sentinels")
    return options


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
