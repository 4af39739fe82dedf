"""Settings and the catalog: what an operator and a marketer write down, typed and checked before anything runs."""
