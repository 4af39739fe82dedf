"""`tideline evaluate`: Tideline's likelihoods beside those of other models, on the same points.

`points` collects what a lock-step run matured and says which points are judged; `peers` names the models to compare
with, one file each for the larger ones; `compare` judges all of them and makes the report; `table` prints it.
docs/evaluation.md says how to read it.
"""
