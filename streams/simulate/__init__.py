"""Shop traffic whose true likelihoods are known: users with hidden intent, drawn from a seed (docs/simulate.md).

Pure: nothing here reads a clock or a random source. What sends records away is a `sinks.Sink`; what paces them gets
its clock from outside.
"""
