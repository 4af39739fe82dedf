"""All dashboards, and where their files are."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.dashboards.campaigns import CAMPAIGNS
from tests.dashboards.predictions import PREDICTIONS
from tests.dashboards.service import SERVICE

FOLDER = ROOT / "config/grafana/dashboards"
BOARDS = (SERVICE, PREDICTIONS, CAMPAIGNS)
