"""Is the process alive, can it do its work, and what has it counted."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from config.errors import BrokerError, StoreError
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.metrics import ApiMetrics
from streams.api.services import Services


class Alive(BaseModel):
    """The process runs."""

    status: str = Field(examples=["ok"])


class Ready(BaseModel):
    """Whether what the service needs answers."""

    ready: bool
    store: bool = Field(description="Whether the store answers.")
    log: bool = Field(description="Whether the log of events answers.")


def add_health(app: FastAPI, services: Services, authenticator: Authenticator, metrics: ApiMetrics) -> None:
    """Add the routes for whoever looks after the process."""

    @app.get("/healthz", tags=["health"], operation_id="healthz", summary="Does the process run?")
    async def healthz() -> Alive:
        return Alive(status="ok")

    @app.get(
        "/readyz",
        tags=["health"],
        operation_id="readyz",
        summary="Can it take events and answer questions?",
        response_model=Ready,
        responses={503: {"model": Ready, "description": "Something that it needs does not answer."}},
    )
    async def readyz() -> Response:
        store, log = await asyncio.gather(_store_answers(services), _log_answers(services))
        ready = Ready(ready=store and log, store=store, log=log)
        return JSONResponse(ready.model_dump(), 200 if ready.ready else 503)

    @app.get(
        "/metrics",
        tags=["health"],
        operation_id="metrics",
        summary="What the process has counted, for Prometheus",
        response_class=Response,
        responses={
            200: {"description": "In Prometheus' text format.", "content": {"text/plain": {}}},
            **problems(),
        },
        **access(authenticator, Role.READ),
    )
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _store_answers(services: Services) -> bool:
    try:
        await asyncio.to_thread(services.keys.ping)
    except StoreError:
        return False
    return True


async def _log_answers(services: Services) -> bool:
    try:
        await services.check_log()
    except BrokerError:
        return False
    return True
