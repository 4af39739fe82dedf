"""Signatures of webhooks, as the specification of Standard Webhooks has them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from streams.adapters.redis_deliveries import Secrets
from streams.runtime.deliveries.endpoint_run import headers_of
from streams.runtime.deliveries.signing import read_secret, signed_headers, write_secret

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW_S = 1_614_265_330.75


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver looks, by the words of the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(each == f"v1,{expected}" for each in headers["webhook-signature"].split(" "))


def test_the_example_that_libraries_are_tested_with() -> None:
    headers = signed_headers([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW_S, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(min_size=24, max_size=64), st.text(max_size=20), st.binary(max_size=200))
def test_a_receiver_with_the_secret_can_tell(key: bytes, id_: str, body: bytes) -> None:
    secret = write_secret(key)
    assert read_secret(secret) == key
    headers = signed_headers([write_secret(b"another" * 5), secret], id_, NOW_S, body)
    assert verified(secret, headers, body)
    assert not verified(secret, headers, body + b" ")
    assert not verified(secret, headers | {"webhook-timestamp": "1614265331"}, body)
    assert not verified(write_secret(b"third" * 5), headers, body)


@given(st.binary(min_size=24, max_size=64), st.text(), st.dictionaries(st.text(), st.text() | st.integers()))
def test_the_official_library_verifies_what_is_sent(key: bytes, user: str, data: dict[str, Any]) -> None:
    """With the clock of this moment: it refuses what is older than five minutes."""
    secret, body = write_secret(key), json.dumps({"subject": user, "data": data}).encode()
    signing = Secrets(secret, write_secret(b"another" * 5), time.time() + 60.0)
    headers = dict(headers_of(signing, "8f2c9f7a41d3b6e05c1d0f9a7b3e6d21", time.time(), body))
    for known in (secret, write_secret(b"another" * 5)):
        assert Webhook(known).verify(body.decode(), headers) == {"subject": user, "data": data}
    with pytest.raises(WebhookVerificationError):
        Webhook(write_secret(b"third" * 6)).verify(body.decode(), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.decode() + " ", headers)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_!", "whsec_" + "A" * 8, SECRET.removeprefix("whsec_"), "whsec_é"]
)
def test_what_is_no_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="expected whsec_") as refused:
        read_secret(text)
    assert refused.value.__cause__ is None
    assert not text or text == "whsec_" or text not in str(refused.value)


def test_a_secret_before_is_good_for_a_while() -> None:
    other = write_secret(b"x" * 32)
    both = Secrets(other, SECRET, NOW_S + 10.0)
    assert len(headers_of(both, "1", NOW_S, b"{}")["webhook-signature"].split(" ")) == 2
    (one,) = headers_of(both, "1", NOW_S + 10.0, b"{}")["webhook-signature"].split(" ")
    assert one == headers_of(Secrets(other), "1", NOW_S + 10.0, b"{}")["webhook-signature"]
    assert SECRET not in repr(both)
    assert SECRET not in str([both])
