"""The service of campaigns: what its partitions read, decide, store and put out."""
