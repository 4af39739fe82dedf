"""Ready-made campaigns and journeys over HTTP: which there are, and one filled in for a prediction."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.base import ID_PATTERN
from config.campaigns import Campaign, Messaging
from config.catalog import Catalog
from config.errors import CatalogError, ConfigError
from config.written import written
from streams.api.auth import Authenticator, access
from streams.api.campaign_channels import unknown_channel
from streams.api.campaign_definer import CampaignDefiner
from streams.api.campaign_document import TEMPLATE
from streams.api.campaign_models import FilledSegment, FilledTemplate, TemplateList, TemplateView
from streams.api.definer import Definer
from streams.api.definition_document import body as body_of
from streams.api.definition_requests import read_json
from streams.api.definitions_view import check_target, invalid
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.api.read_predictions import require
from streams.api.services import ApiOptions
from streams.campaigns.strategies.make import Described, Language, Made, Scores, described, make

_MAX_ERRORS: Final = 20
_Id = Annotated[str, Field(pattern=ID_PATTERN)]


class _Asked(BaseModel):
    """For whom a template is filled in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    prediction: _Id
    channels: list[_Id] = Field(min_length=1, max_length=8)
    category: Literal["low", "medium", "high"] | None = None
    min: float | None = Field(default=None, ge=0, le=100)
    max: float | None = Field(default=None, ge=0, le=100)
    language: Language = "en"
    order_value: float | None = Field(default=None, gt=0, le=1e9)
    recommender: _Id | None = None
    id: _Id | None = None

    def scores(self) -> str | Scores | None:
        """A category, a range, or what the template is meant for."""
        if self.min is None and self.max is None:
            return self.category
        if self.category is not None:
            raise _unusable("category", "either a category, or min and max")
        return (self.min or 0.0, 100.0 if self.max is None else self.max)


def add_templates(
    app: FastAPI, definer: Definer, campaigns: CampaignDefiner, authenticator: Authenticator, options: ApiOptions
) -> None:
    """Add both routes."""

    @app.get(
        "/v1/templates",
        tags=["campaigns"],
        operation_id="listTemplates",
        summary="Ready-made campaigns and journeys for the strategies of the field",
        responses=problems(),
        **access(authenticator, Role.READ),
    )
    def all_templates() -> TemplateList:
        return TemplateList(items=[_view(each) for each in described()])

    given: dict[str, Any] = access(authenticator, Role.READ)
    given["openapi_extra"] |= body_of(TEMPLATE)

    @app.post(
        "/v1/templates/{template_name}",
        tags=["campaigns"],
        operation_id="fillTemplate",
        summary="One of them, complete for a prediction and a range; nothing is stored",
        responses=problems(400, 404, 408, 409, 413, 415, 422),
        **given,
    )
    async def fill(
        request: Request, template_name: str = Path(description="As `GET /v1/templates` names it.", max_length=63)
    ) -> FilledTemplate:
        _, data = await read_json(request, options)
        asked = _read(data)

        def work() -> FilledTemplate:
            require("template", template_name, [each.name for each in described()])
            _check_channels(asked, campaigns.store.kept().messaging())
            view = definer.view()
            require("prediction", asked.prediction, view.whole.predictions)
            check_target(view, "prediction", asked.prediction)
            return _filled(_made(template_name, view.in_force, asked))

        return await definer.run(work)


def _read(data: Any) -> _Asked:
    try:
        return _Asked.model_validate(data)
    except ValidationError as error:
        found = [
            {"where": ".".join(["body", *map(str, each["loc"])]), "detail": each["msg"]} for each in error.errors()
        ][:_MAX_ERRORS]
        words = "; ".join(f"{each['where']}: {each['detail']}" for each in found)
        raise Problem(Kind.INVALID_PARAMETERS, words, errors=found) from error


def _check_channels(asked: _Asked, messaging: Messaging) -> None:
    """Raises `Problem` for a channel by which nothing that is made of it could go."""
    for index, channel in enumerate(asked.channels):
        if channel not in messaging.channels:
            raise _unusable(f"channels.{index}", unknown_channel(channel, messaging))
    if asked.recommender is None:
        return
    defined = messaging.channels.get(asked.recommender)
    if defined is None:
        raise _unusable("recommender", unknown_channel(asked.recommender, messaging))
    if defined.kind != "webhook":
        words = f"a channel of the kind webhook is asked, and {asked.recommender} is no such one"
        raise _unusable("recommender", words)


def _unusable(where: str, detail: str) -> Problem:
    return Problem(Kind.INVALID_PARAMETERS, detail, errors=[{"where": f"body.{where}", "detail": detail}])


def _made(name: str, catalog: Catalog, asked: _Asked) -> Made:
    try:
        return make(
            name,
            catalog,
            asked.prediction,
            channels=tuple(dict.fromkeys(asked.channels)),
            scores=asked.scores(),
            language=asked.language,
            order_value=asked.order_value,
            recommender=asked.recommender,
            id_=asked.id,
        )
    except CatalogError as error:
        raise invalid(error.problems) from error
    except ConfigError as error:
        raise _unusable("prediction", str(error)) from error


def _view(each: Described) -> TemplateView:
    return TemplateView(
        name=each.name,
        kind=each.makes,
        prediction_kind=each.kind,
        range=each.scores if isinstance(each.scores, str) else list(each.scores),
        title=each.titles,
        description=each.texts,
    )


def _filled(made: Made) -> FilledTemplate:
    segment = None if made.segment is None else FilledSegment(id=made.segment[0], definition=written(made.segment[1]))
    return FilledTemplate(
        kind="campaign" if isinstance(made.definition, Campaign) else "journey",
        id=made.id,
        definition=written(made.definition),
        segment=segment,
    )
