"""Campaigns and journeys: who gets which message when, as a pure function of inputs, stored state and a clock.

`engine.Engine` is the whole of it: it takes one input at a time and changes the user's row, the campaign's book and the
partition's state; what is to be sent, told to the event stream and alerted comes out. Nothing here reads a clock, draws
a random number or talks to anybody; `ports` says what others have to provide, docs/campaigns.md what is decided how,
and docs/adr/0014-campaigns.md how a service commits it.
"""
