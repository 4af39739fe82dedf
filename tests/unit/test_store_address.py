"""Addresses of stores: what each names, and what is said of wrong ones, without a word of a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.store_address import StoreAddress, hide_password, parse_store_address


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://",
        "redis://:pw@host:1/0",
        "rediss://me:p%40w@host:6380/2?ssl_cert_reqs=none&client_name=shop",
        "unix:///a/b%20c.sock",
        "unix://me:pw@/a/with@in/it.sock?db=1",
    ],
)
def test_the_address_of_one_server_stays_as_it_is(url: str) -> None:
    assert parse_store_address(url) == StoreAddress(url)


def test_nodes_of_a_cluster_share_login_and_options() -> None:
    address = parse_store_address(
        "rediss+cluster://me:p%40w@a:7000,b,[::1]:7002/0?ssl_cert_reqs=none&client_name=x%20y"
    )
    assert (address.kind, address.hosts) == ("cluster", (("a", 7000), ("b", 6379), ("::1", 7002)))
    options = "?ssl_cert_reqs=none&client_name=x+y"
    assert address.server("10.0.0.7", 7001) == f"rediss://me:p%40w@10.0.0.7:7001{options}"
    assert address.server("::1", 7002) == f"rediss://me:p%40w@[::1]:7002{options}"


def test_sentinels_have_another_login_than_the_server() -> None:
    address = parse_store_address(
        "rediss+sentinel://me:pw@a,b:5000/the%20shop/3?sentinel_username=s&sentinel_password=g%40t&ssl_cert_reqs=none"
    )
    assert (address.kind, address.service) == ("sentinel", "the shop")
    assert address.hosts == (("a", 26379), ("b", 5000))
    assert address.sentinel("a", 26379) == "rediss://s:g%40t@a:26379?ssl_cert_reqs=none"
    assert address.server("c", 6379) == "rediss://me:pw@c:6379/3?ssl_cert_reqs=none"
    plain = parse_store_address("redis+sentinel://me:pw@a/shop")
    assert plain.sentinel("a", 26379) == "redis://a:26379"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "begins with redis://"),
        ("hunter2", "begins with redis://"),
        ("http://me:hunter2@host", "begins with redis://"),
        ("redis+other://:hunter2@host", "begins with redis://"),
        ("redis+://:hunter2@host", "begins with redis://"),
        ("unix+cluster:///hunter2", "begins with redis://"),
        ("redis://:hunter2@host:port", "HOST:PORT"),
        ("redis://:hunter2@host:0", "HOST:PORT"),
        ("redis://:hunter2@host:99999", "HOST:PORT"),
        ("redis://:hunter2@host:", "HOST:PORT"),
        ("redis://:hunter2@a,b", r"redis\+cluster://"),
        ("redis://:hunter2@host/name", "number of a database"),
        ("unix://socket", "full path"),
        ("unix:///", "full path"),
        ("redis+cluster://", "HOST:PORT"),
        ("redis+cluster://:hunter2@a,,b", "HOST:PORT"),
        ("redis+cluster://:hunter2@a b:1", "HOST:PORT"),
        ("redis+cluster://:hunter2@a/1", "only number 0"),
        ("redis+sentinel://:hunter2@a", "name of the service"),
        ("redis+sentinel://:hunter2@a/", "name of the service"),
        ("redis+sentinel://:hunter2@a/shop/x", "name of the service"),
        ("redis+sentinel://a/shop?db=1&sentinel_password=hunter2", "part of the path"),
        ("redis+sentinel://a/shop?sentinel_pasword=hunter2", "'sentinel_pasword'; did you mean 'sentinel_password'"),
        ("redis://a?sentinel_password=hunter2", r"redis\+sentinel://"),
        ("redis://a?ssl_password=hunter2", "rediss"),
        ("redis://a?hunter2", "something else"),
        ("rediss://a?ssl_ca_certs=/no/such/file", "ssl_ca_certs"),
    ],
)
def test_a_wrong_address_is_told_without_its_password(url: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as told:
        parse_store_address(url)
    assert "hunter2" not in str(told.value)


def test_files_of_certificates_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    parse_store_address(f"rediss+cluster://a?ssl_ca_certs={tmp_path}/ca.pem")
    with pytest.raises(ValueError, match="ssl_keyfile"):
        parse_store_address(f"rediss+cluster://a?ssl_ca_certs={tmp_path}/ca.pem&ssl_keyfile={tmp_path}/no.key")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+cluster://me:pw@a:1,b:2", "redis+cluster://me:***@a:1,b:2"),
        ("redis+sentinel://:pw@a/s?sentinel_password=a@b", "redis+sentinel://:***@a/s?sentinel_password=***"),
        ("redis+sentinel://a/s?sentinel_password=a&db=1", "redis+sentinel://a/s?sentinel_password=***&db=1"),
        ("rediss://me:p?w@host?ssl_password=x", "rediss://me:***@host?ssl_password=***"),
        ("redis://?password=x", "redis://?password=***"),
        ("redis://a?p%61ssword=x&db=1", "redis://a?p%61ssword=***&db=1"),
        ("redis://a?Password=x", "redis://a?Password=***"),
    ],
)
def test_passwords_are_hidden_wherever_they_are(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_an_address_does_not_show_itself() -> None:
    address = parse_store_address("redis+cluster://me:hunter2@a?client_name=x")
    assert "hunter2" not in repr(address)
    assert address.name == "redis+cluster://me:***@a"
