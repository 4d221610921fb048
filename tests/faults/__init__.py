"""Faults: each in a file of its own, with a letter, and counted over many cases.

`python -m tests.faults [--full] [LETTER ...]` runs them and prints a table; the tests run the small set of each.
(e, the loss of a node of a cluster, has no file here yet.)
"""
