"""The address and secret of a channel of the kind webhook, for who asks it for recommendations."""

from __future__ import annotations

import time

from pydantic import ValidationError

from config.channel_settings import WebhookSettings, read_channel_settings
from streams.adapters.redis_channels import RedisChannels
from streams.runtime.campaigns.recommending import Endpoint


def endpoint_of(channels: RedisChannels, id_: str) -> Endpoint | None:
    """None if it has none (yet). Raises StoreError."""
    data, secrets = channels.all().get(id_), channels.secrets(id_)
    if data is None or secrets is None:
        return None
    try:
        settings = read_channel_settings(data)
    except ValidationError:
        return None  # of a later version
    return Endpoint(settings.url, secrets.at(time.time())) if isinstance(settings, WebhookSettings) else None
