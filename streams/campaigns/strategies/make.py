"""From a strategy, a prediction and a range of its score to a whole campaign or journey, which people then change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from config.campaign_checks import read_campaign, read_journey
from config.campaigns import Campaign
from config.catalog import Catalog, Prediction, Segment
from config.definitions import read_segment
from config.errors import ConfigError
from config.journeys import Journey
from config.written import written
from config.yaml_text import build, compose

Language: TypeAlias = Literal["en", "fr"]
Scores: TypeAlias = tuple[float, float]
"""From (included) and to (not included, but for 100)."""
_FOLDER: Final = Path(__file__).parent
_CATEGORIES: Final = ("low", "medium", "high")
_CAP_ORDERS: Final = 5.0
"""In comparisons of money a user's revenue counts up to so many usual orders (docs/adr/0014-campaigns.md)."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a strategy gives: a campaign or a journey, and the segment it is for, if that is not one of a category."""

    id: str
    definition: Campaign | Journey
    segment: tuple[str, Segment] | None


def strategies(kind: Literal["event", "churn"] | None = None) -> list[str]:
    """Names of all strategies, or of those for predictions of this kind."""
    return [name for name, entry in _read("definitions").items() if kind in (None, entry["kind"])]


@dataclass(frozen=True, slots=True)
class Described:
    """What a strategy is, for people who choose one."""

    name: str
    makes: Literal["campaign", "journey"]
    kind: Literal["event", "churn"]
    """Of the predictions that it is for."""
    scores: str | Scores
    """Whom it is meant for."""
    titles: dict[str, str]
    """Language -> title."""
    texts: dict[str, str]
    """Language -> what it does, in a sentence."""


def described() -> list[Described]:
    """All strategies."""
    words = {language: _read(language)["descriptions"] for language in get_args(Language)}
    return [
        Described(
            name=name,
            makes="campaign" if "campaign" in entry else "journey",
            kind=entry["kind"],
            scores=_scores(entry["range"]),
            titles={language: known[name]["title"] for language, known in words.items()},
            texts={language: known[name]["text"] for language, known in words.items()},
        )
        for name, entry in _read("definitions").items()
    ]


def _scores(given: str | Scores | dict[str, float]) -> str | Scores:
    return (given["min"], given["max"]) if isinstance(given, dict) else given


def make(  # noqa: PLR0913  one for each thing that people choose
    strategy: str,
    catalog: Catalog,
    prediction_id: str,
    *,
    channels: tuple[str, ...],
    scores: str | Scores | None = None,
    language: Language = "en",
    order_value: float | None = None,
    recommender: str | None = None,
    id_: str | None = None,
) -> Made:
    """A whole, valid definition. `scores`: a category, or a range; None: what the strategy is for. `id_`: None for one
    of strategy and prediction; a segment of its own has the same one.

    `order_value`: what an order is usually worth, in money. With it percentages have a cost, which previews and budgets
    need, and revenue has a cap, without which money is not compared. `recommender`: the channel (a webhook) that a
    strategy with recommendations asks for them; without it the message has what is remembered of the user.

    Raises ConfigError for a strategy or prediction that does not exist or does not fit, CatalogError (one of them) for
    a range that is none.
    """
    entry, prediction = _entry(strategy), _prediction(catalog, prediction_id)
    if entry["kind"] != prediction.kind:
        raise ConfigError(
            f"{strategy} is for predictions of kind {entry['kind']}; {prediction_id} is {prediction.kind}"
        )
    id_ = f"{strategy}_{prediction_id}"[:63] if id_ is None else id_
    texts = _read(language)
    segment_id, segment = _segment(
        id_, prediction_id, prediction, scores if scores is not None else entry["range"], texts["segment"]
    )
    atom = prediction.goal.atoms[0]
    goal: dict[str, Any] = {"event": atom.event, "window": written(prediction)["window"]}
    if atom.where:
        goal["where"] = {name: written(each) for name, each in atom.where.items()}
    if catalog.value_property is not None:
        goal["revenue"] = catalog.value_property
        if order_value is not None:
            goal["revenue_cap"] = _CAP_ORDERS * order_value
    form = "campaign" if "campaign" in entry else "journey"
    words = {"$prediction": prediction_id, "$segment": segment_id, "$event": atom.event}
    data = _filled(entry[form], words, texts["messages"])
    _ask(strategy, data, recommender)
    data |= {
        "name": texts["strategies"][strategy].format(name=prediction.name)[:200],
        "segment": segment_id,
        "prediction": prediction_id,
    }
    data |= {"conversion": goal, "channels": list(channels)}
    if order_value is not None:
        _price(data, order_value)
    definition = read_campaign(id_, data) if form == "campaign" else read_journey(id_, data)
    return Made(id_, definition, None if segment is None else (segment_id, segment))


def _price(data: dict[str, Any], order_value: float) -> None:
    """Say in every offer what an order is worth."""
    for holder in (data, *data.get("steps", {}).values()):
        if "offer" in holder:
            holder["offer"]["order_value"] = order_value


def _ask(strategy: str, data: dict[str, Any], recommender: str | None) -> None:
    """Say whom every message that wants recommendations asks for them; None: nobody. Raises ConfigError for none."""
    messages = [data.get("message"), *(step.get("send") for step in data.get("steps", {}).values())]
    asking = [message for message in messages if message is not None and "recommendations" in message]
    if recommender is not None and not asking:
        raise ConfigError(f"{strategy} asks for no recommendations")
    for message in asking:
        if recommender is None:
            del message["recommendations"]
        else:
            message["recommendations"]["from"] = recommender


def _entry(strategy: str) -> dict[str, Any]:
    known = _read("definitions")
    if strategy not in known:
        raise ConfigError(f"there is no strategy {strategy!r}; there are {', '.join(known)}")
    entry: dict[str, Any] = known[strategy]
    return entry


def _prediction(catalog: Catalog, id_: str) -> Prediction:
    prediction = catalog.predictions.get(id_)
    if prediction is None:
        raise ConfigError(f"there is no prediction {id_!r}")
    if prediction.access != "live" or prediction.archived:
        raise ConfigError(f"{id_} is not live: previews, demos and archived predictions are never targeted")
    return prediction


def _segment(
    id_: str, prediction_id: str, prediction: Prediction, scores: str | Scores | dict[str, float], title: str
) -> tuple[str, Segment | None]:
    """The category's own segment, or one that is made for the range, with `title` filled in as its name."""
    if isinstance(scores, str):
        if scores not in _CATEGORIES:
            raise ConfigError(f"expected low, medium, high or a range of scores, found {scores!r}")
        return f"{prediction_id}.{scores}", None
    low, high = (scores["min"], scores["max"]) if isinstance(scores, dict) else scores
    data = {
        "name": title.format(name=prediction.name, low=low, high=high)[:200],
        "filter": {"prediction": prediction_id, "score": {"min": low, "max": high}},
    }
    return id_, read_segment(id_, data)


def _filled(value: Any, words: dict[str, str], messages: dict[str, Any]) -> Any:
    """The data with words in place of what begins with $, and texts in place of names of messages."""
    if isinstance(value, dict):
        return {
            key: _message(inner, messages) if key in ("message", "send") else _filled(inner, words, messages)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_filled(inner, words, messages) for inner in value]
    return words.get(value, value) if isinstance(value, str) else value


def _message(named: str | dict[str, Any], messages: dict[str, Any]) -> dict[str, Any]:
    """A message by the name of its texts, with whom it asks for recommendations if it does."""
    if isinstance(named, str):
        return {"parts": messages[named]}
    return {"parts": messages[named["texts"]], "recommendations": dict(named["recommendations"])}


@cache
def _read(name: str) -> dict[str, Any]:
    path = _FOLDER / f"{name}.yaml"
    data, problems = build(compose(path.read_text(encoding="utf-8"), path.name))
    assert not problems, problems
    found: dict[str, Any] = data
    return found
