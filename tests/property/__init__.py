"""Properties that hold for every log and every catalog, searched for with hypothesis."""
