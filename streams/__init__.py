"""The service: the pure core, the commit, the adapters at the rim and the runtimes that join them."""
