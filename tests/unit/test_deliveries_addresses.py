"""Where webhooks may go."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.deliveries.addresses import AddressRefused, check_address, check_url, is_public

REFUSED = [
    *["127.0.0.1", "127.255.0.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"],
    *["255.255.255.255", "224.0.0.1", "239.1.2.3", "240.0.0.1", "192.0.2.1", "198.18.0.1", "192.0.0.1"],
    *["::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "fec0::1", "::7f00:1"],
    # IPv4 addresses inside of IPv6 ones: mapped, 6to4, NAT64, Teredo
    *["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::1"],
    *["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2001:0:1234::1"],
]
TAKEN = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", REFUSED)
def test_private_addresses_are_refused(address: str) -> None:
    with pytest.raises(AddressRefused, match="TIDELINE_WEBHOOKS_PRIVATE=true allows private addresses"):
        check_address(address, allow_private=False)
    check_address(address, allow_private=True)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressRefused):
        check_url(f"https://{host.replace('%', '%25')}/x", allow_private=False)


@pytest.mark.parametrize("address", TAKEN)
def test_public_addresses_are_taken(address: str) -> None:
    check_address(address, allow_private=False)
    check_url(f"https://{f'[{address}]' if ':' in address else address}:8443/x?y=z", allow_private=False)


@given(st.ip_addresses(v=4))
def test_an_address_inside_of_another_counts_as_itself(address: ipaddress.IPv4Address) -> None:
    inside = [0xFFFF << 32 | int(address), int(ipaddress.IPv6Address("64:ff9b::")) | int(address)]
    inside.append(0x2002 << 112 | int(address) << 80)
    for number in inside:
        assert is_public(ipaddress.IPv6Address(number)) == is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *["http://hooks.example.org/", "ftp://hooks.example.org/", "https://", "https:///x", "hooks.example.org", ""],
        *["https://ann:secret@hooks.example.org/", "https://ann@hooks.example.org/", "https://hooks.example.org/#x"],
        *["https://hooks.example.org:0/", "https://hooks.example.org:99999/", "https://hooks.example.org:x/"],
        *["https://hooks.example.org/a b", "https://hooks.example.org/\r\nX: y", "https://[::1/", "file:///etc/passwd"],
        *["https://hooks.example.org/" + "x" * 2_000, "javascript:alert(1)"],
    ],
)
def test_what_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        check_url(url, allow_private=False)
    assert "secret@" not in str(refused.value)


SAME_TO_THE_CLIENT = [
    *["１２７.０.０.１", "127。0。0。1", "127．0．0．1", "①②⑦.0.0.1", "１２７.0.0.1.", "169.254.169.254。"],
    *["１６９｡２５４｡１６９｡２５４", "10.0.0.𝟙", "[::ﬀff:127.0.0.1]", "２１３０７０６４３３", "%31%32%37.0.0.1"],
]


@pytest.mark.parametrize("host", SAME_TO_THE_CLIENT)
def test_an_address_in_other_digits_and_dots_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(f"https://{host}:8443/x", allow_private=False)


@pytest.mark.parametrize("host", ["bücher.example", "xn--bcher-kva.example", "例え.テスト", "x1.example.org."])
def test_names_of_other_scripts_are_taken(host: str) -> None:
    check_url(f"https://{host}/x", allow_private=False)


def test_plain_http_only_where_private_addresses_are_allowed() -> None:
    check_url("http://localhost:8000/x", allow_private=True)
    with pytest.raises(AddressRefused, match=r"write https; TIDELINE_WEBHOOKS_PRIVATE=true allows .* plain http"):
        check_url("http://localhost:8000/x", allow_private=False)
    check_url("https://localhost/x", allow_private=False)  # a name is looked up when something is sent
