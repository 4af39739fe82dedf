"""Deliveries: transitions to endpoints elsewhere, as signed webhooks, at least once."""
