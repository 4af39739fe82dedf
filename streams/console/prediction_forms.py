"""Predictions made, changed, switched and archived: forms, what each would have to learn from, and what rests on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.responses import JSONResponse, Response

from config.catalog import Catalog, Prediction
from config.dependents import resumable
from streams.api import edits
from streams.api.app import Parts
from streams.api.campaign_definer import CampaignDefiner
from streams.api.definer import Work
from streams.api.definition_requests import check_match
from streams.api.definitions_view import DefinitionsView, Edit, read
from streams.api.keys import Role
from streams.api.prediction_estimate import PredictionEstimateView, audience_size
from streams.api.problems import Kind, Problem
from streams.api.targets import endpoints_on
from streams.console.changing import campaign_names, change, id_of, id_told, nothing_told
from streams.console.definition_wrong import prediction_field
from streams.console.filter_form import data_of, is_for_builder, offered
from streams.console.ids import LONGEST_NAME, free_id
from streams.console.pages import TEXTS
from streams.console.prediction_estimate import EstimateWords, estimate_words
from streams.console.prediction_form import OPERATIONS, TYPES, UNITS, PredictionForm
from streams.console.routing import PageRoute
from streams.console.visit import Visit
from streams.console.wrong import Wrong, builder_words, name_wrong, told_by_builder, wrong_by_field, wrong_of
from streams.core.questions import kept_predictions

_NEW: Final = "new"
"""The id under which one is checked before it has one."""


class Estimated(NamedTuple):
    """An estimate, and of which definition it is."""

    words: EstimateWords
    digest: str


class PredictionForms:
    """The pages."""

    def __init__(self, parts: Parts, campaigns: CampaignDefiner) -> None:
        self._parts = parts
        self._campaigns = campaigns
        self._stored = parts.services.stored
        self._definer = parts.definer

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened; `by-goal` cannot be the id of a prediction."""
        yield PageRoute("/predictions/by-goal", "GET", Role.WRITE, self.show_new)
        yield PageRoute("/predictions/by-goal", "POST", Role.WRITE, self.create)
        yield PageRoute("/predictions/by-goal/audience", "POST", Role.WRITE, self.count)
        yield PageRoute("/predictions/{id}/edit", "GET", Role.WRITE, self.show_edit)
        yield PageRoute("/predictions/{id}/edit", "POST", Role.WRITE, self.edit)
        yield PageRoute("/predictions/{id}/archive", "GET", Role.WRITE, self.ask_archive)
        yield PageRoute("/predictions/{id}/archive", "POST", Role.WRITE, self.archive)
        yield PageRoute("/predictions/{id}/restore", "POST", Role.WRITE, self.restore)
        yield PageRoute("/predictions/{id}/access", "GET", Role.WRITE, self.ask_access)
        yield PageRoute("/predictions/{id}/access", "POST", Role.WRITE, self.access)

    # --- making and changing -----------------------------------------------------------------------------------------

    def show_new(self, visit: Visit) -> Response:
        """An empty form. Raises `Problem`, StoreError."""
        return self._form(visit, PredictionForm(), None)

    def create(self, visit: Visit) -> Response:
        """Estimate it, or make it and go to it; the form again with what is wrong. Raises `Problem`, StoreError."""
        form = PredictionForm.of(visit.form, visit.language)

        def work(view: DefinitionsView) -> Work:
            id_ = free_id(form.name, view.whole.predictions, "prediction")
            return Work([edits.created(view, "prediction", {"id": id_, **form.definition})], id_told(id_))

        return self._saved(visit, form, None, work)

    def show_edit(self, visit: Visit) -> Response:
        """The form of one that there is. Raises NotStored, `Problem`, StoreError."""
        found = self._editable(self._definer.view(), visit.path("id"))
        return self._form(visit, PredictionForm.of_prediction(found, visit.language), visit.path("id"))

    def edit(self, visit: Visit) -> Response:
        """Estimate the change, or make it; as `create`. Raises NotStored, `Problem`, StoreError."""
        id_ = visit.path("id")
        form = PredictionForm.of(visit.form, visit.language).keeping(self._editable(self._definer.view(), id_))

        def work(view: DefinitionsView) -> Work:
            view.editable("prediction", id_)
            check_match(visit.form.get("etag"), view.etag_of("prediction", id_), is_needed=True)
            return Work(edits.edited(view, "prediction", id_, form.definition), nothing_told)

        return self._saved(visit, form, id_, work)

    def _saved(
        self, visit: Visit, form: PredictionForm, id_: str | None, work: Callable[[DefinitionsView], Work]
    ) -> Response:
        """On to it once it is saved; a page before: with another row, with the estimate, or with what is wrong."""
        action = visit.form.get("action", "")
        if action not in ("estimate", "save"):
            return self._form(visit, form.with_more(action), id_)
        if not 0 < len(form.name) <= LONGEST_NAME:
            return self._form(visit, form, id_, wrong=name_wrong(visit))
        try:
            if action == "estimate" or visit.form.get("estimated") != _digest(form.definition):
                return self._form(visit, form, id_, estimated=self._estimated(visit, form, id_))
            answer = change(self._definer, visit, work)
        except Problem as problem:
            return self._form(visit, form, id_, wrong=wrong_by_field(visit, problem, prediction_field))
        return visit.go(f"/predictions/{id_ or id_of(answer)}")

    def count(self, visit: Visit) -> Response:
        """How many users an audience holds for now, as texts. Raises `Problem`, StoreError."""
        text = visit.form.get("filter", "")
        try:
            prediction = self._of_audience(data_of(text)) if text.strip() else None
            tree = None if prediction is None else prediction.audience
            users, _ = audience_size(self._stored, self._parts.everyone, tree)
        except Problem as problem:
            told = told_by_builder(wrong_by_field(visit, problem, prediction_field))
            return JSONResponse({"users": visit.format.number(None), **told})
        return JSONResponse({"users": visit.format.number(users), "notes": [], "places": []})

    @staticmethod
    def _of_audience(data: Any) -> Prediction:
        found = read("prediction", _NEW, {"name": _NEW, "goal": {"did": _NEW}, "window": "1d", "audience": data})
        assert isinstance(found, Prediction)
        return found

    def _estimated(self, visit: Visit, form: PredictionForm, id_: str | None) -> Estimated:
        """Raises `Problem`, StoreError."""
        data = form.definition
        found = read("prediction", id_ or _NEW, data)
        assert isinstance(found, Prediction)
        view: PredictionEstimateView = self._parts.estimator.answer(data if id_ is None else {"id": id_, **data})
        return Estimated(estimate_words(TEXTS[visit.language], visit.format, found, view), _digest(data))

    def _form(
        self,
        visit: Visit,
        form: PredictionForm,
        id_: str | None,
        *,
        estimated: Estimated | None = None,
        wrong: Wrong | None = None,
    ) -> Response:
        view, t = self._definer.view(), TEXTS[visit.language]
        tree: Any = None
        try:
            tree = data_of(form.audience) if form.audience.strip() else None
            if tree is not None:
                self._of_audience(tree)
        except Problem as problem:
            wrong, tree = wrong or wrong_by_field(visit, problem, prediction_field), None
        has_builder = is_for_builder(tree) if tree is not None else not form.audience.strip()
        choices = self._offered(visit, view)
        return visit.render(
            "prediction_form.html",
            status=HTTPStatus.OK if wrong is None else HTTPStatus.UNPROCESSABLE_ENTITY,
            form=form,
            id=id_,
            name=None if id_ is None else view.whole.predictions[id_].name,
            etag=None if id_ is None else view.etag_of("prediction", id_),
            is_anew=id_ is not None and estimated is not None and self._is_anew(view, id_, form),
            estimated=estimated,
            wrong=wrong,
            operations=OPERATIONS,
            types=TYPES,
            units=UNITS,
            events=choices["events"],
            has_builder=has_builder,
            tree=json.dumps(tree),
            offered=json.dumps({**choices, "predictions": [], "segments": {}}) if has_builder else "",
            words=json.dumps(builder_words(t)),
        )

    def _is_anew(self, view: DefinitionsView, id_: str, form: PredictionForm) -> bool:
        """Whether what was learned is of no use for the changed one."""
        after = read("prediction", id_, form.definition)
        assert isinstance(after, Prediction)
        changed = view.whole.model_copy(update={"predictions": {**view.whole.predictions, id_: after}})
        return id_ not in kept_predictions(view.whole, changed)

    def _offered(self, visit: Visit, view: DefinitionsView) -> dict[str, Any]:
        with self._stored.reader() as reader:
            vocabulary = self._stored.a_state(reader).vocabulary
        return offered(TEXTS[visit.language], view.whole, vocabulary)

    @staticmethod
    def _editable(view: DefinitionsView, id_: str) -> Prediction:
        found = view.editable("prediction", id_)
        assert isinstance(found, Prediction)
        if found.archived:
            raise Problem(Kind.NOT_FOUND, f"the prediction {id_!r} is archived")
        return found

    # --- switching ---------------------------------------------------------------------------------------------------

    def ask_archive(self, visit: Visit) -> Response:
        """Whether it is meant. Raises NotStored, `Problem`, StoreError."""
        return self._ask(visit, "archive", lambda view, id_: edits.archived(view, "prediction", id_))

    def archive(self, visit: Visit) -> Response:
        """End it, with the segments that rest on it. Raises NotStored, `Problem`, StoreError."""
        id_ = visit.path("id")
        change(self._definer, visit, lambda view: Work(edits.archived(view, "prediction", id_), nothing_told))
        return visit.go(f"/predictions/{id_}")

    def restore(self, visit: Visit) -> Response:
        """Bring back one that was archived. Raises NotStored, `Problem`, StoreError."""
        id_ = visit.path("id")
        change(self._definer, visit, lambda view: Work(edits.restored(view, "prediction", id_), nothing_told))
        return visit.go(f"/predictions/{id_}")

    def ask_access(self, visit: Visit) -> Response:
        """Whether it is meant to go live, or to be taken back. Raises NotStored, `Problem`, StoreError."""
        before = self._editable(self._definer.view(), visit.path("id"))
        wanted = "preview" if before.access == "live" else "live"
        return self._ask(visit, wanted, lambda view, id_: edits.accessed(view, id_, {"access": wanted}))

    def access(self, visit: Visit) -> Response:
        """Make it live, or take it back. Raises NotStored, `Problem`, StoreError."""
        id_, wanted = visit.path("id"), visit.form.get("access", "")
        change(self._definer, visit, lambda view: Work(edits.accessed(view, id_, {"access": wanted}), nothing_told))
        return visit.go(f"/predictions/{id_}")

    def _ask(self, visit: Visit, what: str, find: Callable[[DefinitionsView, str], list[Edit]]) -> Response:
        """The question, with what comes with it; where it cannot be done, why not."""
        view, id_ = self._definer.view(), visit.path("id")
        found = self._editable(view, id_)
        wrong: Wrong | None = None
        try:
            view.changed(find(view, id_), "", 0.0)
        except Problem as problem:
            wrong = wrong_of(visit, problem)
        names = resumable(_as_live(view, id_, found), id_) if what == "live" else view.dependents("prediction", id_)
        segments = [(name, view.whole.segments[name]) for name in names]
        return visit.render(
            "prediction_switch.html",
            status=HTTPStatus.OK if wrong is None else HTTPStatus.CONFLICT,
            id=id_,
            name=found.name,
            what=what,
            wrong=wrong,
            segments=[(name, segment.name, view.source("segment", name)) for name, segment in segments],
            endpoints=endpoints_on(view, self._parts.services.webhooks.all(), "prediction", id_),
            campaigns=campaign_names(self._campaigns, "prediction", id_),
        )


def _as_live(view: DefinitionsView, id_: str, prediction: Prediction) -> Catalog:
    live = prediction.model_copy(update={"access": "live"})
    return view.whole.model_copy(update={"predictions": {**view.whole.predictions, id_: live}})


def _digest(data: dict[str, Any]) -> str:
    """Of a definition, so that what is saved is what was estimated."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]
