"""Campaigns and journeys: all of them, one, made from a template or a selection, changed, paused, ended, forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.responses import JSONResponse, Response

from config.campaign_checks import read_campaign, read_journey
from config.campaigns import Campaign, Rules
from config.catalog import Catalog, ScoreFilter, Segment
from config.errors import CatalogError, ConfigError, NotStored
from config.journeys import Journey, SendStep
from config.offers import FixedOffer, LadderOffer, LinearOffer
from config.times import WEEKDAYS
from config.written import written
from config.yaml_text import dump
from streams.adapters.campaign_definitions import CAMPAIGN_KINDS, Action, CampaignKind, KeptCampaign
from streams.api import campaign_edits, edits
from streams.api.app import Parts
from streams.api.campaign_definer import CampaignDefiner, CampaignWork
from streams.api.campaign_edits import By
from streams.api.campaign_figures import FiguresView, figures_of
from streams.api.campaign_models import CampaignSummary
from streams.api.campaign_previews import AgainstView, CampaignPreviews, MessageRequest
from streams.api.campaigns import campaign_view, summary
from streams.api.campaigns_view import CampaignsView, check_campaign, etag
from streams.api.definer import Work
from streams.api.definition_requests import check_match
from streams.api.definitions_view import DefinitionsView, invalid, read
from streams.api.keys import Role
from streams.api.predictions import get_prediction
from streams.api.problems import Kind, Problem
from streams.api.views import PredictionView, time_text
from streams.campaigns.strategies.make import Made, make
from streams.console.campaign_failures import CampaignFailures
from streams.console.campaign_figures import campaign_figures
from streams.console.campaign_form import STATES, CampaignForm
from streams.console.campaign_offer import OfferDrawings
from streams.console.campaign_reach import Reach, reach_of
from streams.console.campaign_strategies import cards_of, meant_for
from streams.console.campaign_when import when_of
from streams.console.campaign_wrong import campaign_wrong
from streams.console.changing import ask_of, change, id_of, id_told, nothing_told
from streams.console.channel_pages import CHANNELS
from streams.console.filter_form import known_events
from streams.console.ids import LONGEST_NAME, free_id
from streams.console.journey_form import EXITS, HAPPENS, KINDS, PATH_KINDS, new_step
from streams.console.journey_tree import Counts, Node, tree_of
from streams.console.ladder import Drawing
from streams.console.language import Language
from streams.console.message_words import failed
from streams.console.numbers import shown_number, shown_percent
from streams.console.offer_form import OFFERS, PERIODS, OfferForm, offer_of
from streams.console.pages import TEXTS
from streams.console.problem_words import said
from streams.console.quoted import shown_text
from streams.console.routing import PageRoute
from streams.console.segment_words import segment_name
from streams.console.selection import Selection, chosen_selection
from streams.console.spans import UNITS, Span
from streams.console.texts import Texts
from streams.console.trigger_form import PERIODS as TRIGGER_PERIODS
from streams.console.trigger_form import TRIGGERS
from streams.console.visit import Visit
from streams.console.wrong import Wrong, name_wrong, wrong_of
from streams.core.vocabulary import Vocabulary

_SWITCHES: Final[dict[str, Action]] = {"pause": "pause", "resume": "resume", "dry": "dry"}
_SHOWN_CHANGES: Final = 20
_LOOKED_CHANGES: Final = 1_000
"""Changes of all campaigns that are looked at: where many others were changed since, the oldest are not shown."""
_LONGEST_USER: Final = 1_000
_BEGINS: Final = "dry"
"""How one that a strategy fills in begins: it decides and counts, and nothing goes out before somebody has read it."""


class Row(NamedTuple):
    """One in the list."""

    view: CampaignSummary
    segment: str
    """Its name."""


class Filled(NamedTuple):
    """A form with the segment that has to be made before it is saved."""

    form: CampaignForm
    segment: tuple[str, Segment] | None


class Trial(NamedTuple):
    """What one user would be sent now. Nothing is sent."""

    user: str
    offer: str | None
    texts: list[tuple[str, list[tuple[str, str]]]]
    """(channel, its texts)."""
    against: list[tuple[str, str | None]]
    """(what speaks against it, when it would be asked again); None: the message would not be sent."""
    wrong: str | None
    """Why there is nothing, or what fails in the message."""
    is_without: bool = False
    """Whether somebody else would have been asked for recommendations, and was not."""


class CampaignPages:
    """The pages."""

    def __init__(self, parts: Parts, campaigns: CampaignDefiner, failures: CampaignFailures) -> None:
        self._parts = parts
        self._failures = failures
        self._stored = parts.services.stored
        self._definer = parts.definer
        self._campaigns = campaigns
        self._previews = CampaignPreviews(parts.services, parts.definer, parts.everyone)
        self._drawings = OfferDrawings(parts)

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened; addresses with a hyphen cannot be ids."""
        yield PageRoute("/campaigns", "GET", Role.READ, self.show_all)
        yield PageRoute("/campaigns/all-figures", "GET", Role.READ, self.figures)
        yield PageRoute("/campaigns/by-template", "GET", Role.WRITE, self.show_templates)
        yield PageRoute("/campaigns/by-form", "GET", Role.WRITE, self.show_new)
        yield PageRoute("/campaigns/by-form", "POST", Role.WRITE, self.create)
        yield PageRoute("/campaigns/by-form/offer", "POST", Role.WRITE, self.draw)
        yield PageRoute("/campaigns/{id}", "GET", Role.READ, self.show)
        yield PageRoute("/campaigns/{id}/edit", "GET", Role.WRITE, self.show_edit)
        yield PageRoute("/campaigns/{id}/edit", "POST", Role.WRITE, self.edit)
        yield PageRoute("/campaigns/{id}/stand", "POST", Role.WRITE, self.switch)
        yield PageRoute("/campaigns/{id}/archive", "GET", Role.WRITE, self.ask_archive)
        yield PageRoute("/campaigns/{id}/archive", "POST", Role.WRITE, self.archive)
        yield PageRoute("/campaigns/{id}/forget", "GET", Role.WRITE, self.ask_forget)
        yield PageRoute("/campaigns/{id}/forget", "POST", Role.WRITE, self.forget)

    # --- looking -----------------------------------------------------------------------------------------------------

    def show_all(self, visit: Visit) -> Response:
        """The list, and what could be made. Raises `Problem`, StoreError."""
        view, now_s = self._campaigns.view(), self._campaigns.now_s()
        found = [summary(view, each, now_s) for kind in CAMPAIGN_KINDS for each in view.of(kind)]
        rows = [Row(each, self._segment_name(visit, view.beside.whole, each.segment)) for each in found]
        targets = [
            (id_, prediction.name, "churn" if prediction.kind == "churn" else "event")
            for id_, prediction in view.beside.whole.predictions.items()
            if prediction.access == "live" and not prediction.archived
        ]
        return visit.render(
            "campaigns.html",
            rows=[row for row in rows if row.view.state != "archived"],
            ended=[row for row in rows if row.view.state == "archived"],
            targets=targets,
            channels=list(view.messaging.channels),
            channel_kinds=[kind for kind in CHANNELS if kind not in view.messaging.channels],
            may_set_up=view.kept.common is None or view.kept.common.source == "api",
        )

    def figures(self, visit: Visit) -> Response:
        """What each has sent and withheld, as texts. Raises StoreError."""
        f, services = visit.format, self._parts.services
        found = {}
        for each in self._campaigns.view().kept.campaigns:
            if each.head.stands.state != "archived":
                view = figures_of(services, each.head.kind, each.head.id)
                withheld = sum(view.withheld.values()) + view.control + view.holdout
                found[each.head.id] = {"sent": f.number(view.sent), "withheld": f.number(withheld)}
        return JSONResponse(found)

    def show(self, visit: Visit) -> Response:
        """One. Raises NotStored, `Problem`, StoreError."""
        view = self._campaigns.view()
        kept = self._find(view, visit.path("id"))
        rules = view.current(kept.head.id)
        found = campaign_view(view, kept, self._campaigns.now_s())
        done = figures_of(self._parts.services, kept.head.kind, kept.head.id)
        changes, is_whole = self._changes(kept.head.id)
        figures = campaign_figures(TEXTS[visit.language], visit.format, done, rules)
        return visit.render(
            "campaign.html",
            view=found,
            segment=self._segment_name(visit, view.beside.whole, found.segment),
            messages=_messages(rules),
            steps=_step_numbers(rules),
            drawings=[
                (step, self._drawings.draw(view.catalog, rules.segment, offer)) for step, offer in _offers(rules)
            ],
            predictions=_names(view.beside.whole),
            definition=dump(found.definition),
            control=visit.format.percents(shown_percent(rules.control, visit.language)),
            when_it_goes=when_of(TEXTS[visit.language], visit.format, rules, found.status),
            figures=figures,
            journey=done.journey,
            tree=_tree(visit, view.catalog, rules, done),
            failures=self._failures.of(kept.head.id, visit.language),
            changes=changes,
            is_whole_history=is_whole,
            problems=[(each.path, *said(visit.language, each.model_dump())) for each in found.problems],
            reach=self._reach(visit, written(rules), figures.used_up) if visit.query.get("reach") else None,
            trial=self._trial(visit, kept.head.id),
        )

    def _reach(self, visit: Visit, definition: dict[str, Any], used_up: list[str]) -> Reach:
        """What it would do to everybody now; a pass over all users. `used_up`: of its budgets, in words.

        Raises StoreError, `Problem`.
        """
        try:
            found = self._previews.everybody(definition)
        except Problem as problem:
            return Reach([], [], wrong_of(visit, problem).words)
        return reach_of(TEXTS[visit.language], visit.format, found, used_up)

    def _trial(self, visit: Visit, id_: str) -> Trial | None:
        """What one user would be sent now; None where nobody is asked about. Raises StoreError, `Problem`."""
        user = visit.query.get("user", "").strip()
        if not user or len(user) > _LONGEST_USER:
            return None
        t = TEXTS[visit.language]
        try:
            found = self._previews.message(MessageRequest(id=id_, user_id=user), may_ask=visit.may_write)
        except NotStored:
            return Trial(user, None, [], [], t.trial_nobody)
        against = list(_against(t, found.against))
        texts = [(each.channel, list(each.texts.items())) for each in found.channels]
        offer = None if found.offer is None else _offer_text(visit, found.offer.value, found.offer.unit)
        wrong = None if found.failed is None else failed(visit.language, found.failed)
        return Trial(user, offer, texts, against, wrong, is_without=found.recommendations == "not-asked")

    def _changes(self, id_: str) -> tuple[list[tuple[str | None, str, str]], bool]:
        """(when, who, what), the latest first, and whether these are all; of the latest changes to any campaign."""
        names: dict[str, str] = {}
        found: list[tuple[str | None, str, str]] = []
        looked = self._campaigns.store.history(None, _LOOKED_CHANGES)
        own = [made for _, made in looked if made.id == id_]
        for made in own[:_SHOWN_CHANGES]:
            if made.key_id not in names:
                known = self._parts.services.keys.find(made.key_id)
                names[made.key_id] = made.key_id if known is None or not known.record.name else known.record.name
            found.append((time_text(made.at_s), names[made.key_id], made.action))
        return found, len(looked) < _LOOKED_CHANGES and len(own) <= _SHOWN_CHANGES

    # --- templates ---------------------------------------------------------------------------------------------------

    def show_templates(self, visit: Visit) -> Response:
        """What fits a selection of a prediction. Raises NotStored, `Problem`, StoreError."""
        prediction = get_prediction(self._stored, self._parts.reads, visit.query.get("prediction", ""))
        selection = chosen_selection(visit.query, prediction)
        fitting, others = cards_of(visit, prediction, selection)
        return visit.render(
            "campaign_templates.html",
            prediction=prediction,
            selection=selection,
            fitting=fitting,
            others=others,
            channels=list(self._campaigns.view().messaging.channels),
        )

    def show_new(self, visit: Visit) -> Response:
        """The form, filled in by a template. Raises NotStored, `Problem`, StoreError."""
        filled = self._filled(visit, visit.query, self._campaigns.view())
        return self._form(visit, filled.form, None, new_segment=filled.segment)

    def _filled(self, visit: Visit, given: Mapping[str, str], view: CampaignsView) -> Filled:
        """Raises `Problem` for a template that there is not, or that does not fit."""
        channels = tuple(view.messaging.channels)[:1]
        prediction_id = given.get("prediction", "")
        if not given.get("template"):
            target = f"{prediction_id}.high" if prediction_id in view.catalog.predictions else ""
            form = _empty(view.catalog, prediction_id, target, channels, visit.language)
            if given.get("kind") == "journey":
                form = replace(form, kind="journey", steps=(new_step("send", ()),))
            return Filled(form, None)
        prediction = get_prediction(self._stored, self._parts.reads, prediction_id)
        if not channels:
            raise Problem(Kind.NOT_TARGETABLE, "no channel is set up")
        selection = chosen_selection(given, prediction) or meant_for(given["template"], prediction)
        made = _made(given["template"], view.catalog, prediction, channels, selection, visit)
        taken = {each.head.id for each in view.kept.campaigns} | set(view.beside.whole.segments)
        id_ = made.id if made.id not in taken else free_id(made.id, taken)
        definition, segment = _beside(made, view.beside.whole)
        if segment is not None:
            name = _range_name(visit, prediction, selection)
            segment = (segment[0], segment[1].model_copy(update={"name": name}))
        return Filled(replace(CampaignForm.of_definition(id_, definition, visit.language), state=_BEGINS), segment)

    # --- making and changing -----------------------------------------------------------------------------------------

    def create(self, visit: Visit) -> Response:
        """Make it, with its segment, and go to it; the form again with what is wrong. Raises `Problem`, StoreError."""
        form = CampaignForm.of(visit.form, visit.language)
        segment = self._segment_to_make(visit)
        if (action := visit.form.get("action", "save")) != "save":
            return self._form(visit, form.after(action), None, new_segment=segment)
        if not 0 < len(form.name) <= LONGEST_NAME:
            return self._form(visit, form, None, wrong=name_wrong(visit), new_segment=segment)
        try:
            return visit.go(f"/campaigns/{self._made(visit, form, segment)}")
        except Problem as problem:
            return self._form(visit, form, None, wrong=campaign_wrong(visit, problem, form), new_segment=segment)

    def _made(self, visit: Visit, form: CampaignForm, segment: tuple[str, Segment] | None) -> str:
        """The id of what a form makes, with its segment. Raises `Problem`, StoreError."""
        definition = form.definition
        if segment is not None:
            id_ = self._make_segment(visit, form, segment)
            definition = _renamed(definition, segment[0], id_)

        def work(view: CampaignsView, by: By) -> CampaignWork:
            taken = {each.head.id for each in view.kept.campaigns}
            id_ = free_id(form.id or form.name, taken, "campaign")
            step = campaign_edits.created(view, by, form.kind, {"id": id_, **definition})
            return CampaignWork([step], id_told(id_))

        return id_of(self._campaigns.change(ask_of(visit), work))

    def draw(self, visit: Visit) -> Response:
        """The offer of a form, drawn, while somebody writes it. Raises `Problem`, StoreError."""
        segment = self._segment_to_make(visit)
        catalog = self._campaigns.view().catalog
        offer = OfferForm.of(visit.form, visit.query.get("prefix", ""), language=visit.language)
        drawing = self._drawing(catalog, visit.form.get("segment", ""), offer, segment)
        page = visit.render("offer_drawn.html", drawing=drawing, predictions=_names(catalog))
        return JSONResponse({"html": bytes(page.body).decode()})

    def _drawing(
        self, catalog: Catalog, segment: str, form: OfferForm, to_make: tuple[str, Segment] | None
    ) -> Drawing | None:
        scope = None
        if to_make is not None:
            tree = to_make[1].filter
            assert isinstance(tree, ScoreFilter), "only ranges of scores are made with a campaign"
            if tree.prediction == form.prediction or form.kind == "fixed":
                scope = (tree.score.min or 0.0, 100.0 if tree.score.max is None else tree.score.max)
        return self._drawings.draw(catalog, segment, offer_of(form), scope)

    def _segment_to_make(self, visit: Visit) -> tuple[str, Segment] | None:
        """What a template has asked for, out of the form. Raises `Problem`."""
        id_, prediction = visit.form.get("new_segment", ""), visit.form.get("new_segment_prediction", "")
        if not id_ or visit.form.get("segment") != id_:
            return None
        score = {"min": _score(visit.form.get("new_segment_min")), "max": _score(visit.form.get("new_segment_max"))}
        name = visit.form.get("new_segment_name", id_)
        found = read("segment", id_, {"name": name, "filter": {"prediction": prediction, "score": score}})
        assert isinstance(found, Segment)
        return id_, found

    def _make_segment(self, visit: Visit, form: CampaignForm, segment: tuple[str, Segment]) -> str:
        """Its id. Made where it is not there yet, if the campaign that needs it would be taken.

        Where somebody else has taken its id, it gets another. Raises `Problem`, StoreError.
        """
        wanted, definition = segment
        data = written(definition)

        def free(view: DefinitionsView) -> str:
            there = view.whole.segments.get(wanted)
            is_same = there is None or (there.filter == definition.filter and not there.archived)
            return wanted if is_same else free_id(wanted, view.whole.segments)

        before = self._definer.view()
        id_ = free(before)
        if id_ in before.whole.segments:
            return id_
        after, _ = before.changed([edits.created(before, "segment", {"id": id_, **data})], "", 0.0)
        rules = campaign_edits.read(form.kind, form.id or "new", _renamed(form.definition, wanted, id_))
        check_campaign(self._campaigns.beside(after), form.kind, form.id or "new", rules)

        def work(view: DefinitionsView) -> Work:
            id_ = free(view)
            if id_ in view.whole.segments:
                return Work([], id_told(id_))
            return Work([edits.created(view, "segment", {"id": id_, **data})], id_told(id_))

        return id_of(change(self._definer, visit, work, "segment"))

    def show_edit(self, visit: Visit) -> Response:
        """The form of one that there is. Raises NotStored, `Problem`, StoreError."""
        view = self._campaigns.view()
        kept = self._editable(view, visit.path("id"))
        return self._form(
            visit, CampaignForm.of_definition(kept.head.id, view.current(kept.head.id), visit.language), kept
        )

    def edit(self, visit: Visit) -> Response:
        """Change it, and go to it; as `create`. Raises NotStored, `Problem`, StoreError."""
        form, kept = (
            CampaignForm.of(visit.form, visit.language),
            self._editable(self._campaigns.view(), visit.path("id")),
        )
        id_, kind = kept.head.id, kept.head.kind
        if (action := visit.form.get("action", "save")) != "save":
            return self._form(visit, form.after(action), kept)

        def work(view: CampaignsView, by: By) -> CampaignWork:
            check_match(visit.form.get("etag"), etag(view.get(kind, id_)), is_needed=True)
            return CampaignWork(campaign_edits.edited(view, by, kind, id_, form.definition), nothing_told)

        try:
            self._campaigns.change(ask_of(visit), work)
        except Problem as problem:
            return self._form(visit, form, kept, wrong=campaign_wrong(visit, problem, form))
        return visit.go(f"/campaigns/{id_}")

    def _form(
        self,
        visit: Visit,
        form: CampaignForm,
        kept: KeptCampaign | None,
        *,
        wrong: Wrong | None = None,
        new_segment: tuple[str, Segment] | None = None,
    ) -> Response:
        view = self._campaigns.view()
        whole = view.beside.whole
        live = {id_: p.name for id_, p in whole.predictions.items() if p.access == "live" and not p.archived}
        segments = {id_: each.name for id_, each in whole.segments.items() if not each.archived}
        segments |= {f"{id_}.{c}": self._segment_name(visit, whole, f"{id_}.{c}") for id_ in live for c in _CATEGORIES}
        if new_segment is not None:
            segments |= {new_segment[0]: new_segment[1].name}
        return visit.render(
            "campaign_form.html",
            status=HTTPStatus.OK if wrong is None else HTTPStatus.UNPROCESSABLE_ENTITY,
            form=form,
            id=None if kept is None else kept.head.id,
            etag=None if kept is None else etag(kept),
            wrong=wrong,
            segments=segments,
            all_segments=self._all_segments(visit, whole),
            new_segment=_range_of(new_segment),
            predictions=live,
            all_predictions=_names(whole),
            prediction_kinds={id_: each.kind for id_, each in whole.predictions.items()},
            channels=list(view.messaging.channels),
            events=known_events(view.beside.whole, self._vocabulary()),
            triggers=TRIGGERS,
            trigger_periods=TRIGGER_PERIODS,
            weekdays=WEEKDAYS,
            states=STATES,
            offers=OFFERS,
            periods=PERIODS,
            units=UNITS[1:],
            **self._journey_fields(view.catalog, form),
            drawing=self._drawing(view.catalog, form.segment, form.offer, new_segment),
        )

    def _journey_fields(self, catalog: Catalog, form: CampaignForm) -> dict[str, Any]:
        """What the fields of steps offer to choose from, and their offers drawn."""
        drawings = {
            each.id: self._drawing(catalog, form.segment, each.offer, None)
            for each in form.steps
            if each.kind == "send"
        }
        return {
            "drawings": drawings,
            "step_kinds": KINDS,
            "step_units": UNITS,
            "happens": HAPPENS,
            "path_kinds": PATH_KINDS,
            "exits": EXITS,
        }

    def _vocabulary(self) -> Vocabulary | None:
        """What workers have found in events; None before there are any. Raises StoreError."""
        with self._stored.reader() as reader:
            return self._stored.a_state(reader).vocabulary

    # --- standing ----------------------------------------------------------------------------------------------------

    def switch(self, visit: Visit) -> Response:
        """Pause it, put it on, or on a dry run. Raises NotStored, `Problem`, StoreError."""
        action = _SWITCHES.get(visit.form.get("action", ""))
        if action is None:
            raise Problem(Kind.INVALID_BODY, "a campaign is paused, resumed or put on a dry run")
        kept = self._find(self._campaigns.view(), visit.path("id"))
        self._stand(visit, lambda view, by: campaign_edits.stands(view, by, kept.head.kind, kept.head.id, action))
        return visit.go(f"/campaigns/{kept.head.id}")

    def ask_archive(self, visit: Visit) -> Response:
        """Whether it is meant. Raises NotStored, `Problem`, StoreError."""
        view = self._campaigns.view()
        kept = self._editable(view, visit.path("id"))
        return visit.render("campaign_archive.html", id=kept.head.id, name=view.current(kept.head.id).name)

    def archive(self, visit: Visit) -> Response:
        """End it for good. Raises NotStored, `Problem`, StoreError."""
        kept = self._editable(self._campaigns.view(), visit.path("id"))
        self._stand(visit, lambda view, by: campaign_edits.archived(view, by, kept.head.kind, kept.head.id))
        return visit.go("/campaigns")

    def ask_forget(self, visit: Visit) -> Response:
        """Whether it is meant. Raises NotStored, `Problem`, StoreError."""
        view = self._campaigns.view()
        id_ = self._archived(view, visit.path("id")).head.id
        return visit.render("campaign_forget.html", id=id_, name=view.current(id_).name)

    def forget(self, visit: Visit) -> Response:
        """Keep nothing of it but its id. Raises NotStored, `Problem` while it is not over, StoreError."""
        head, books = self._archived(self._campaigns.view(), visit.path("id")).head, self._parts.services.campaign_books
        self._stand(visit, lambda view, by: campaign_edits.forgotten(view, by, head.kind, head.id, books.books_of))
        return visit.go("/campaigns")

    def _stand(self, visit: Visit, find: Callable[[CampaignsView, By], list[Any]]) -> None:
        self._campaigns.change(ask_of(visit), lambda view, by: CampaignWork(find(view, by), nothing_told))

    # --- inside ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _find(view: CampaignsView, id_: str) -> KeptCampaign:
        """A campaign or a journey: their ids are of one kind. Raises NotStored."""
        found = view.kept.find(id_)
        if found is None:
            raise NotStored(f"no campaign or journey is called {id_[:100]!r}")
        return found

    def _editable(self, view: CampaignsView, id_: str) -> KeptCampaign:
        kept = view.editable(self._kind(view, id_), id_)
        if kept.head.stands.state == "archived":
            raise NotStored(f"{id_[:100]!r} is archived for good")
        return kept

    def _archived(self, view: CampaignsView, id_: str) -> KeptCampaign:
        kept = view.editable(self._kind(view, id_), id_)
        if kept.head.stands.state != "archived":
            raise NotStored(f"{id_[:100]!r} is not archived")
        return kept

    def _kind(self, view: CampaignsView, id_: str) -> CampaignKind:
        return self._find(view, id_).head.kind

    def _all_segments(self, visit: Visit, catalog: Catalog) -> dict[str, str]:
        """Id -> name, also of those that may not be chosen any more."""
        found = {id_: each.name for id_, each in catalog.segments.items()}
        ids = [f"{id_}.{category}" for id_ in catalog.predictions for category in _CATEGORIES]
        return found | {id_: self._segment_name(visit, catalog, id_) for id_ in ids}

    @staticmethod
    def _segment_name(visit: Visit, catalog: Catalog, id_: str) -> str:
        found = catalog.segments.get(id_)
        return segment_name(TEXTS[visit.language], catalog, id_, id_ if found is None else found.name)


_CATEGORIES: Final = ("high", "medium", "low")


def _made(
    name: str,
    catalog: Catalog,
    prediction: PredictionView,
    channels: tuple[str, ...],
    selection: Selection,
    visit: Visit,
) -> Made:
    """Raises `Problem` for a template that there is not, or that does not fit."""
    scores = selection.category or (selection.low, selection.high)
    try:
        return make(name, catalog, prediction.id, channels=channels, scores=scores, language=visit.language)
    except CatalogError as error:
        raise invalid(error.problems) from error
    except ConfigError as error:
        raise Problem(Kind.NOT_TARGETABLE, str(error)) from error


def _range_name(visit: Visit, prediction: PredictionView, selection: Selection) -> str:
    """What a segment of a range of scores is called, by the language of who makes it."""
    t, f = TEXTS[visit.language], visit.format
    scores = t.rank_scores.format(low=f.edge(selection.low), high=f.edge(selection.high))
    return t.segment_of_category.format(prediction=prediction.name, category=scores)


def _beside(made: Made, catalog: Catalog) -> tuple[Campaign | Journey, tuple[str, Segment] | None]:
    """What a template gives, with a segment whose id no other range of scores has."""
    if made.segment is None:
        return made.definition, None
    id_, segment = made.segment
    there = catalog.segments.get(id_)
    if there is None or (there.filter == segment.filter and not there.archived):
        return made.definition, made.segment
    free = free_id(id_, catalog.segments)
    data = _renamed(written(made.definition), id_, free)
    is_campaign = isinstance(made.definition, Campaign)
    return (read_campaign if is_campaign else read_journey)(made.id, data), (free, segment)


def _renamed(value: Any, before: str, after: str) -> Any:
    """The data with another id wherever one stands alone."""
    if isinstance(value, dict):
        return {key: _renamed(inner, before, after) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, before, after) for inner in value]
    return after if value == before else value


def _messages(rules: Rules) -> list[tuple[str, list[tuple[str, str]]]]:
    """(step, its texts) of a campaign, or of a journey by its steps."""
    if isinstance(rules, Campaign):
        return [("", list(rules.message.parts.items()))]
    steps = written(rules)["steps"]
    return [(name, list(step["send"]["parts"].items())) for name, step in steps.items() if "send" in step]


def _step_numbers(rules: Rules) -> dict[str, int]:
    """Of a journey by the ids of its steps, as its tree counts them; nothing of a campaign."""
    return {id_: n for n, id_ in enumerate(rules.steps, 1)} if isinstance(rules, Journey) else {}


def _offers(rules: Rules) -> list[tuple[str, FixedOffer | LadderOffer | LinearOffer]]:
    """(step, what it promises) of a campaign, or of a journey by its steps."""
    if isinstance(rules, Campaign):
        return [] if rules.offer is None else [("", rules.offer)]
    assert isinstance(rules, Journey)
    sends = [(id_, step) for id_, step in rules.steps.items() if isinstance(step, SendStep)]
    return [(id_, step.offer) for id_, step in sends if step.offer is not None]


def _against(texts: Texts, found: list[AgainstView]) -> Iterator[tuple[str, str | None]]:
    """Each reason once; one for good counts before one that is asked again."""
    for_good = {each.reason for each in found if each.until is None}
    for reason, until in {each.reason: each.until for each in found}.items():
        yield texts.withheld_reasons[reason], None if reason in for_good else until


def _offer_text(visit: Visit, value: float, unit: str) -> str:
    """All of its digits; percent with their sign."""
    number = shown_number(value, visit.language)
    return visit.format.percents(number) if unit == "percent" else number


def _tree(visit: Visit, catalog: Catalog, rules: Rules, done: FiguresView) -> list[Node]:
    """The way through a journey; nothing of a campaign."""
    if not isinstance(rules, Journey):
        return []
    found = done.journey
    counts = Counts({}, {}) if found is None else Counts(found.steps, found.waiting)
    return tree_of(TEXTS[visit.language], visit.format, catalog, rules, counts)


def _names(catalog: Catalog) -> dict[str, str]:
    return {id_: each.name for id_, each in catalog.predictions.items()}


def _empty(
    catalog: Catalog, prediction: str, segment: str, channels: tuple[str, ...], language: Language
) -> CampaignForm:
    """A form in which only follows what a prediction says: whom it is for, and what it wants of them."""
    known = catalog.predictions.get(prediction)
    offer = OfferForm(prediction=prediction, language=language)
    form = CampaignForm(segment=segment, channels=channels, offer=offer, language=language)
    if known is None:
        return form
    return replace(form, goal=shown_text(known.goal.atoms[0].event), within=Span.of_s(known.window_s, language))


def _range_of(segment: tuple[str, Segment] | None) -> dict[str, Any] | None:
    """The fields from which a segment of a range of scores is made."""
    if segment is None:
        return None
    tree = written(segment[1])["filter"]
    return {"id": segment[0], "name": segment[1].name, "prediction": tree["prediction"], **tree["score"]}


def _score(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise Problem(Kind.INVALID_BODY, "the range of the segment is no number") from error
