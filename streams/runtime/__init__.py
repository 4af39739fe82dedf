"""What drives the core: the embedded runtime and its services."""
