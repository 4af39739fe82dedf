"""Dashboards of config/grafana, made with Grafana's own types. `python -m tests.dashboards` writes them."""
