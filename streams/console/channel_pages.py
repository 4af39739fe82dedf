"""Setting up a channel that needs no more than a name or an address; the secret of a webhook is shown after it.

The secret is made of the session and of the mark of the form, so the same form makes the same secret however often its
button is pressed, and the page behind it can show it again in another language or theme, for a few minutes, without the
secret being kept anywhere or standing in an address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.responses import Response

from config.written import written
from streams.api import campaign_edits
from streams.api.app import Parts
from streams.api.campaign_channels import Channels
from streams.api.campaign_definer import CampaignDefiner, CampaignWork
from streams.api.campaign_edits import By
from streams.api.campaigns_view import CampaignsView
from streams.api.channel_views import NewSettings
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.console.changing import ask_of, nothing_told
from streams.console.routing import PageRoute
from streams.console.sessions import Session
from streams.console.visit import Visit
from streams.runtime.deliveries.signing import write_secret

CHANNELS: Final = ("webhook", "topic", "log")
"""Kinds of channels that need no more than a name or an address, and so may be set up here."""
_SHOWN_S: Final = 600
"""So long the page with a secret can be loaded again."""


class ChannelPages:
    """The pages."""

    def __init__(self, parts: Parts, campaigns: CampaignDefiner) -> None:
        self._services = parts.services
        self._campaigns = campaigns
        self._channels = Channels(parts.services)

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened; an address with a hyphen cannot be an id."""
        yield PageRoute("/campaigns/new-channel", "GET", Role.WRITE, self.show)
        yield PageRoute("/campaigns/new-channel", "POST", Role.WRITE, self.add)

    def add(self, visit: Visit) -> Response:
        """Set one up, and go on; the form again for an address that cannot be one. Raises `Problem`, StoreError."""
        kind, url = visit.form.get("kind", ""), visit.form.get("url", "").strip()
        if kind not in CHANNELS:
            raise Problem(Kind.INVALID_BODY, "a channel of this kind is set up in the catalog file")
        by = By(ask_of(visit).key_id, self._campaigns.now_s())
        _with_channel(self._campaigns.view(), by, kind)  # refused before anything is kept
        if kind == "webhook":
            try:
                self._keep_webhook(visit, url)
            except ValidationError:
                return self._again(visit, url)
            except Problem as problem:
                if problem.kind is not Kind.INVALID_PARAMETERS:
                    raise
                return self._again(visit, url)

        def work(view: CampaignsView, by: By) -> CampaignWork:
            return CampaignWork(_with_channel(view, by, kind), nothing_told)

        self._campaigns.change(ask_of(visit), work)
        if kind != "webhook":
            return visit.go("/campaigns")
        return visit.go(f"/campaigns/new-channel?{self._address(visit, _mark(visit))}")

    def _keep_webhook(self, visit: Visit, url: str) -> None:
        """Keep where it delivers to; with a secret of ours where it has none yet."""
        new = NewSettings.model_validate({"settings": {"kind": "webhook", "url": url}})
        if not any(each.id == "webhook" and each.has_secret for each in self._channels.all()):
            new = new.model_copy(update={"secret": _secret(_session(visit), _mark(visit))})
        self._channels.set("webhook", new)

    def show(self, visit: Visit) -> Response:
        """Where messages go, with the secret where it was made a moment ago; otherwise the form. Raises StoreError."""
        found = next((each for each in self._channels.all() if each.id == "webhook"), None)
        if found is None or found.settings is None:
            return self._shown(visit, HTTPStatus.OK, url="", secret=None, is_form=True)
        url = str(getattr(found.settings, "url", ""))
        return self._shown(visit, HTTPStatus.OK, url=url, secret=self._secret_shown(visit), is_form=False)

    def _secret_shown(self, visit: Visit) -> str | None:
        """None where it was made longer ago, elsewhere, or is another one by now."""
        mark, until = visit.query.get("made", ""), visit.query.get("until", "")
        is_own = hmac.compare_digest(visit.query.get("sign", "").encode(), _signed(visit, mark, until).encode())
        if not is_own or float(until) < self._services.wall():
            return None
        secret = _secret(_session(visit), mark)
        kept = self._services.channels.settings.secrets("webhook")
        return secret if kept is not None and kept.current == secret else None

    def _address(self, visit: Visit, mark: str) -> str:
        until = str(int(self._services.wall()) + _SHOWN_S)
        return urlencode({"made": mark, "until": until, "sign": _signed(visit, mark, until)})

    def _again(self, visit: Visit, url: str) -> Response:
        return self._shown(visit, HTTPStatus.UNPROCESSABLE_ENTITY, url=url, secret=None, is_form=True)

    @staticmethod
    def _shown(visit: Visit, status: HTTPStatus, *, url: str, secret: str | None, is_form: bool) -> Response:
        wrong = status is not HTTPStatus.OK
        return visit.render(
            "campaign_channel.html", status=status, url=url, secret=secret, is_form=is_form, wrong=wrong
        )


def _with_channel(view: CampaignsView, by: By, kind: str) -> list[Any]:
    """What all campaigns share, with that channel. Raises `Problem` where that is defined in the catalog file."""
    data = written(view.messaging)
    data.setdefault("channels", {}).setdefault(kind, {"kind": kind})
    return campaign_edits.messaging_edited(view, by, data)


def _session(visit: Visit) -> Session:
    assert visit.session is not None, "only who has signed in gets to a form"
    return visit.session


def _mark(visit: Visit) -> str:
    """Of the form that was sent."""
    return visit.form.get("once", "")


def _secret(session: Session, mark: str) -> str:
    digest = hmac.new(session.id.encode(), f"secret of a webhook {mark}".encode(), hashlib.sha256)
    return write_secret(digest.digest())


def _signed(visit: Visit, mark: str, until: str) -> str:
    content = f"secret shown {mark} until {until}".encode()
    return hmac.new(_session(visit).id.encode(), content, hashlib.sha256).hexdigest()
