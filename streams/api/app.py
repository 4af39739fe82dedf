"""The app from its parts. Nothing here is global: two apps in one process know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from streams.api import document, problems
from streams.api.audiences import add_audiences
from streams.api.auth import Authenticator
from streams.api.bodies import Bodies
from streams.api.campaign_channels import add_campaign_channels
from streams.api.campaign_definer import CampaignDefiner
from streams.api.campaign_failures import add_campaign_failures
from streams.api.campaign_figures import add_campaign_figures
from streams.api.campaign_previews import add_campaign_previews
from streams.api.campaign_tests import add_campaign_tests
from streams.api.campaigns import add_campaigns
from streams.api.daily import Daily
from streams.api.dead_letters import add_dead_letters
from streams.api.definer import Definer
from streams.api.definitions import add_definitions
from streams.api.deletions import add_deletions
from streams.api.distribution import add_distribution
from streams.api.drivers import add_drivers
from streams.api.estimate import add_estimate
from streams.api.everyone import Everyone
from streams.api.health import add_health
from streams.api.ingest import add_ingest
from streams.api.lags import Lags
from streams.api.likelihoods import add_likelihoods
from streams.api.limits import BodyLimit, InFlight, RateLimiter
from streams.api.messaging import add_messaging
from streams.api.metrics import ApiMetrics, Observed
from streams.api.prediction_estimate import Estimator, add_prediction_estimate, audience_size
from streams.api.predictions import add_predictions
from streams.api.quality import add_quality
from streams.api.read_predictions import PredictionReads
from streams.api.redriving import Letters
from streams.api.segments import add_segments
from streams.api.services import Services
from streams.api.sizes import add_sizes
from streams.api.stream import add_stream
from streams.api.taking_up import TakingUp
from streams.api.templates import add_templates
from streams.api.user_search import add_user_search
from streams.api.users import add_users
from streams.api.webhooks import add_webhooks

DESCRIPTION = """
Events in, predictions, users and segments out. Every route but `/healthz`, `/readyz` and this document needs a key:
`Authorization: Bearer KEY`. Keys are made with `tideline keys create`. Errors are problem details (RFC 9457).
"""


_ALLOWED = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID", "X-Request-Id")


class Parts(NamedTuple):
    """What the routes of an app have in common, for those who add something to it."""

    app: FastAPI
    services: Services
    authenticator: Authenticator
    reads: PredictionReads
    everyone: Everyone
    definer: Definer
    estimator: Estimator
    lags: Lags
    letters: Letters
    daily: Daily


Extension = Callable[[Parts], None]
"""Adds to an app what is no part of the API."""


def create_app(services: Services, *extensions: Extension) -> FastAPI:
    """The API on top of its services, which it neither opens nor closes, with what extends it."""
    app = FastAPI(
        title="Tideline",
        version=services.version,
        description=DESCRIPTION.strip(),
        docs_url=None,  # these pages take their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    options = services.options
    in_flight = InFlight(options.in_flight_bytes)
    bodies = Bodies(options, in_flight)
    metrics = ApiMetrics(in_flight)
    limiter = RateLimiter(options.rate_per_s, options.rate_burst, services.clock)
    authenticator = Authenticator(services.keys, limiter, clock=services.clock, wall=services.wall)
    add_health(app, services, authenticator, metrics)
    definer = Definer(services.definitions, services.stored, services.wall, services.clock)
    campaigns = CampaignDefiner(services.campaigns, definer, services.wall, services.clock)
    definer.then = campaigns.pause_unusable
    add_ingest(app, services, definer, authenticator, metrics, in_flight)
    reads = PredictionReads(services.definitions, lambda: definer.view().in_force.predictions)
    everyone = Everyone(services.stored, options.scan_s, clock=services.clock, wall=services.wall)
    daily = Daily(services.daily, services.stored, reads, everyone)
    app.state.daily = daily
    add_predictions(app, services.stored, reads, daily, authenticator)
    add_distribution(app, services.stored, reads, everyone, authenticator)
    add_estimate(app, services.stored, reads, everyone, authenticator, bodies)
    add_quality(app, services.stored, reads, authenticator)
    add_drivers(app, services.stored, reads, authenticator)
    taking_up = TakingUp(services, definer)
    add_segments(app, services, definer, taking_up, authenticator)
    add_sizes(app, services, taking_up, authenticator)
    add_users(app, services, reads, authenticator)
    add_user_search(app, services, everyone, authenticator)
    add_likelihoods(app, services, everyone, authenticator)
    add_stream(app, services, authenticator, metrics)
    add_deletions(app, services, definer, authenticator)
    audience = partial(audience_size, services.stored, everyone)
    estimator = Estimator(definer, services.history, audience, services.clock)
    add_prediction_estimate(app, estimator, authenticator, options)
    add_definitions(app, definer, campaigns, services, authenticator)
    add_campaigns(app, campaigns, authenticator, options, services.campaign_books)
    add_messaging(app, campaigns, authenticator, options)
    add_templates(app, definer, campaigns, authenticator, options)
    add_webhooks(app, services, definer, authenticator, bodies)
    add_campaign_previews(app, services, definer, everyone, authenticator, bodies)
    add_campaign_figures(app, services, authenticator)
    add_audiences(app, services, definer, authenticator, bodies)
    add_campaign_channels(app, services, authenticator, bodies)
    lags = Lags(services.lag, services.clock)
    letters = Letters(services)
    add_dead_letters(app, letters, authenticator, bodies)
    add_campaign_failures(app, services, authenticator, bodies)
    add_campaign_tests(app, services, definer, everyone, authenticator, bodies)
    problems.install(app)
    document.install(app)
    for extend in extensions:
        extend(Parts(app, services, authenticator, reads, everyone, definer, estimator, lags, letters, daily))
    _add_layers(app, services, metrics)
    return app


def _add_layers(app: FastAPI, services: Services, metrics: ApiMetrics) -> None:
    """What is around every route; the last one is the outermost."""
    options = services.options
    app.add_middleware(BodyLimit, limit_bytes=options.batch_bytes)
    if options.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=list(_ALLOWED),
            expose_headers=["ETag", "Idempotency-Replayed", "Location", "Retry-After", "X-Request-Id"],
        )
    app.add_middleware(Observed, metrics=metrics)
