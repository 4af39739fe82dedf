"""The HTTP API: events in, predictions, users and segments out. `app.create_app` makes it from its `Services`."""
