"""Where deliveries may go: addresses of the public internet, unless a setting allows others.

Whoever makes an endpoint chooses to whom this machine talks. Without these rules it could be made to talk to what only
this machine can reach.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

MAX_URL: Final = 2_000
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
"""How the last part of a name never is. `127.1`, `0x7f000001` and `2130706433` are addresses to some programs."""
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


_ALLOWED: Final = "TIDELINE_WEBHOOKS_PRIVATE=true allows private addresses and plain http"
"""What to set, for API and sender, on machines where that is wanted."""


class AddressRefused(ValueError):
    """A delivery may not go there."""


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public internet; an IPv4 address inside of an IPv6 one counts as itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    )


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a packet to this one may end at: mapped, 6to4, Teredo, NAT64."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def check_address(text: str, *, allow_private: bool) -> None:
    """Raises AddressRefused for an IP address to which nothing may be sent. A zone (`fe80::1%eth0`) is never public."""
    if allow_private:
        return
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise AddressRefused(f"{text[:60]!r} is no address") from error
    if (isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None) or not is_public(address):
        raise AddressRefused(f"the address is not one of the public internet; {_ALLOWED}")


def check_url(url: str, *, allow_private: bool) -> None:
    """Raises AddressRefused for what cannot be an endpoint; names are looked up only when something is sent."""
    if len(url) > MAX_URL or not url.isprintable() or any(character.isspace() for character in url):
        raise AddressRefused(f"expected a URL of at most {MAX_URL} characters, without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        called = URL(url).raw_host
    except ValueError as error:
        raise AddressRefused("expected a URL such as https://hooks.example.org/tideline") from error
    if parts.scheme == "http" and not allow_private:
        raise AddressRefused(f"plain http is refused, write https; {_ALLOWED}")
    if parts.scheme not in ("https", "http") or not host or not called or port == 0:
        raise AddressRefused("expected a URL such as https://hooks.example.org/tideline")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("a login in the URL would be shown with it; deliveries are signed instead")
    if parts.fragment:
        raise AddressRefused("leave out what stands behind #: it is never sent")
    for each in (host, called):
        _check_host(each, allow_private=allow_private)


def _check_host(host: str, *, allow_private: bool) -> None:
    """Of a URL: as it is written, and as the client calls it, to which `１２７。0.0.1` is 127.0.0.1 and no name.

    The client connects to what it takes for an address without looking anything up, so this is where that is judged.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise AddressRefused("write an address as four numbers from 0 to 255") from None
        return  # a name
    check_address(host, allow_private=allow_private)
