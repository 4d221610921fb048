"""Claims: published trends, of arXiv 2305.15614 and others, each as a number from the table, with a verdict.

One file a family, found by name; it defines `CLAIMS`, a sequence of `analysis.claims.base.contract.Claim`. A verdict is
made of the data alone: nothing that was published enters it but the statement and, where the statement names one, the
bound.
"""

from analysis.claims.base.check import check

__all__ = ["check"]
