"""The graph of positive pairs (arXiv 2106.04156): exact on finite families of views, sparse throughout."""

from analysis.graph.pair_graph import PairGraph
from analysis.graph.spectrum import Spectrum, top_eigenpairs
from analysis.graph.views import ViewFamily, ViewGraph, build

__all__ = ["PairGraph", "Spectrum", "ViewFamily", "ViewGraph", "build", "top_eigenpairs"]
