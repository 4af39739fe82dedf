"""A catalog file: the catalog, and campaigns beside it."""

from __future__ import annotations

from pydantic import Field

from config.base import Id
from config.campaigns import Campaign, Messaging
from config.catalog import Catalog
from config.journeys import Journey
from config.sections import Sections

MAX_CAMPAIGNS = 256


class CatalogFile(Catalog):
    """Everything that a catalog file may say."""

    messaging: Messaging | None = None
    """What holds for all campaigns and journeys: channels, caps, quiet hours, the holdout."""
    campaigns: dict[Id, Campaign] = Field(default_factory=dict, max_length=MAX_CAMPAIGNS)
    """Id: campaign."""
    journeys: dict[Id, Journey] = Field(default_factory=dict, max_length=MAX_CAMPAIGNS)
    """Id: journey; no id of a campaign."""

    def catalog(self) -> Catalog:
        """The catalog, which has the rest beside it."""
        named = self.model_fields_set & Catalog.model_fields.keys()  # what the file says, and what is only left out
        plain = Catalog.model_construct(named, **{name: getattr(self, name) for name in Catalog.model_fields})
        return plain.with_sections(Sections(self.messaging, self.campaigns, self.journeys))
