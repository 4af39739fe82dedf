"""The simulator: the real core and the real commit code in a simulated world (docs/simulator.md).

- `plan`, `plan_notes`, `catalogs`: what one seed draws before anything runs
- `world`: log, clock, consumer group, and the order in which everything happens
- `ports`, `group`: the ports of one run and the consumer group, with their faults
- `worker`: a worker, what it believes to own, and what a crash takes away
- `auditor`, `audit_*` by subject, `books`, `evidence`: what must hold, read from logs and store alone, without any code
  of the product
- `planted`: bugs that the auditor must find
- `run`: one seed from start to end; `python -m tests.sim` for many
"""
