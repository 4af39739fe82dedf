"""One file per backend; each fulfils a port of `streams.ports`."""
