"""Campaigns and journeys: who gets which message when, as a pure function of inputs, stored state and a clock.

`engine.Engine` is the whole of it: it takes one input at a time and changes the user's row and the partition's state;
what is to be sent, told to the event stream and alerted comes out. Nothing here reads a clock, draws a random number or
talks to anybody; docs/adr/0014-campaigns.md says how a service commits it.
"""
