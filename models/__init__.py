"""Features, labels and online models: everything that turns events into a likelihood, without any I/O."""
