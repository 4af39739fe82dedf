"""What a prediction asks, apart from how answers are shown: what was learned for one question holds for no other."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Final

from config.catalog import Catalog, Prediction, RiverModel
from streams.core.vocabulary import Vocabulary

_SHOWN: Final = frozenset({"name", "categories", "hysteresis", "scale", "access", "archived"})
"""Fields that change what is shown or published, and nothing that is learned."""


def question_of(catalog: Catalog, prediction_id: str) -> str:
    """A digest of audience, goal, window and model of a prediction of the catalog.

    A river model cannot go on with other features, so for one of those the features belong to it.
    """
    prediction = catalog.predictions[prediction_id]
    asked = prediction.model_dump(mode="json", by_alias=True, exclude=set(_SHOWN))
    features = Vocabulary(catalog).feature_names() if isinstance(prediction.model, RiverModel) else []
    return blake2b(json.dumps([asked, features], sort_keys=True).encode(), digest_size=8).hexdigest()


def questions_of(catalog: Catalog) -> dict[str, str]:
    """The same of all predictions, by their ids."""
    return {prediction_id: question_of(catalog, prediction_id) for prediction_id in catalog.predictions}


def kept_predictions(old: Catalog, new: Catalog) -> tuple[str, ...]:
    """Ids of the predictions that ask in the new catalog what they asked in the old one, in the new one's order.

    Without previews that are another one now, or none any more: they have learned nothing since they were scored.
    """
    before = questions_of(old)
    return tuple(
        name
        for name, question in questions_of(new).items()
        if before.get(name) == question and _goes_on(old.predictions[name], new.predictions[name])
    )


def _goes_on(before: Prediction, after: Prediction) -> bool:
    return before.access != "preview" or _without_name(before) == _without_name(after)


def _without_name(prediction: Prediction) -> dict[str, Any]:
    return prediction.model_dump(exclude={"name", "archived"})
