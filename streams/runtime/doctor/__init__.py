"""What `tideline doctor` looks at: a machine, its settings, a store and a log. It changes and starts nothing."""
