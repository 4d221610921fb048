"""Estimated graphs against what is known exactly: groups that share views, and the graph of positive pairs itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from analysis.connectivity.classifier import ClassifierSettings, Examiner, pairwise_errors
from analysis.connectivity.estimated import EstimatedGraph, estimate, mean_errors, upper_end
from analysis.connectivity.graph_facts import NodeLabels, facts, say, seed_agreement
from analysis.connectivity.groups import GroupErrors, Groups, image_groups
from analysis.graph import ViewFamily, build, top_eigenpairs
from analysis.graph.alignment import alignment
from analysis.graph.weighted_graph import WeightedGraph
from ray_ssl.data import load_dataset
from ray_ssl.data.base import ImageSet
from ray_ssl.data_config import DataConfig
from tests.analysis.graph.graphs import random_graph

SMALL = ClassifierSettings(num_steps=150, batch_size=48, depth=1, width=16, rate=0.01, num_test_views=4)
NORMALISATION = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
KINDS = np.zeros((4, 16, 16, 3), np.uint8)  # dark, bright, lines across, lines down: told apart whatever the view
KINDS[1] = 255
KINDS[2, ::2] = 255
KINDS[3, :, ::2] = 255
SHARES = np.array([[4, 4, 0, 0], [0, 6, 2, 0], [0, 0, 8, 0], [0, 0, 0, 8], [0, 0, 0, 8]]) / 8
"""Of the kinds in each group: 0, 1 and 2 are joined by what they share, 3 and 4 are alike."""


def least_errors(densities: np.ndarray) -> np.ndarray:
    """Half of what the views of every two groups have in common, in loops over them; densities [G, views]."""
    return np.array([[0.5 * sum(map(min, one, other)) for other in densities] for one in densities])


def drawn_groups() -> Groups:
    """24 images of each group, kinds in their exact shares, equally in both halves."""
    kind = np.concatenate([np.repeat(np.arange(4), (24 * row).astype(int)) for row in SHARES])
    return Groups(KINDS[kind], np.repeat(np.arange(5), 24), np.arange(120) % 2, 5)


def examiner(settings: ClassifierSettings = SMALL) -> Examiner:
    return Examiner(settings, 0, NORMALISATION, torch.device("cpu"), lambda count: None)


@pytest.fixture(scope="module")
def estimated() -> EstimatedGraph:
    groups = drawn_groups()
    return estimate(examiner().joint(groups, groups), np.full(5, 24))


def test_errors_components_and_eigenvectors_are_those_of_the_known_shares(estimated: EstimatedGraph) -> None:
    exact = least_errors(SHARES)
    different = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(estimated.errors[different], exact[different], atol=0.05)
    np.testing.assert_allclose(estimated.within, 0.5, atol=0.1)  # of halves that are alike: a coin a view
    assert estimated.graph.components.tolist() == [0, 0, 0, 1, 1]
    ours, truth = top_eigenpairs(estimated.graph, 5), top_eigenpairs(WeightedGraph(exact), 5)
    np.testing.assert_allclose(ours.values, truth.values, atol=0.08)
    assert alignment(ours.vectors[:, :3], truth.vectors[:, :3]).principal > 0.98


def test_images_that_are_copies_are_one_cluster_each() -> None:
    images = ImageSet(np.repeat(KINDS, 3, axis=0), np.arange(12) // 3, ("a", "b", "c", "d"))
    groups = image_groups(images)
    errors = examiner().joint(groups, groups)
    assert (errors.within == 0.5).all() and examiner().within(groups, groups, 3) == 0.5
    found = facts(
        estimate(errors, np.full(12, 8)), [NodeLabels("class", images.fine), NodeLabels("one", 0 * images.fine)]
    )
    level = found.levels[0]  # the other one has one label, so nothing to be asked
    assert len(found.levels) == 1 and len(found.component_weights) == 4 and found.largest_gap[0] == 4
    assert level.purity == level.nmi == 1 and level.purity_chance < 0.7 and level.nmi_chance < 0.7
    assert level.same > 0.3 and level.other < 0.1 and level.edges.within == pytest.approx(1)
    assert found.cut.conductance == pytest.approx(0, abs=1e-9) and found.paths.longest == 1


def test_the_best_answer_of_two_errs_by_half_of_what_they_share() -> None:
    """Of every view as many copies as it is probable, answered by its probability."""
    views, group = np.nonzero(np.repeat(SHARES, 1, axis=0).T)
    copies = (SHARES[group, views] * 8).astype(int)
    rows, labels = np.repeat(views, copies), np.repeat(group, copies)
    logits = torch.from_numpy(np.log(SHARES[:, rows].T + 1e-9))
    found = pairwise_errors(logits, labels)
    np.fill_diagonal(found, 0.5)
    np.testing.assert_allclose(found, least_errors(SHARES), atol=1e-12)


@pytest.mark.parametrize("num_views", [1, 2, 3])
def test_least_errors_of_images_join_what_positive_pairs_join_and_have_no_negative_eigenvalue(num_views: int) -> None:
    graph = random_graph(25, 20, num_views, seed=num_views)
    errors = least_errors(graph.probabilities.toarray())
    ours = WeightedGraph(errors)
    np.testing.assert_array_equal(
        ours.components[:, None] == ours.components, graph.image_components[:, None] == graph.image_components
    )
    assert np.linalg.eigvalsh(ours.normalised_adjacency())[0] > -1e-12


def test_eigenvectors_of_least_errors_are_near_those_of_positive_pairs_of_classes() -> None:
    data = load_dataset(DataConfig(dataset="shapes", num_images=300, num_test_images=20))
    assert isinstance(data.train, ImageSet)
    views = build(data.train.images, ViewFamily(resolution=3)).graph.probabilities.toarray()
    of_class = np.stack([views[data.train.fine == one].mean(0) for one in range(len(data.train.fine_names))])
    pairs = of_class / of_class.mean(0) @ of_class.T  # mean over views of both probabilities, see PairGraph
    exact, ours = (top_eigenpairs(WeightedGraph(m + m.T), 5).vectors for m in (pairs, least_errors(of_class)))
    assert alignment(ours, exact).principal > 0.8  # a random span of 5 has 5 / 20


def test_threshold_is_the_end_of_wilsons_interval_and_what_is_below_is_no_edge() -> None:
    for count, share in ((40, 0.0), (40, 0.1), (200, 0.5)):
        interval = binomtest(round(count * share), count).proportion_ci(0.95, "wilson")
        assert upper_end(share, count) == pytest.approx(interval.high, abs=1e-6)
    between = np.full((5, 5), np.nan)  # group 4 was not measured
    for one, other, error in ((0, 1, 0.05), (0, 2, 0.09), (0, 3, 0.3), (1, 2, 0.2), (1, 3, 0.05), (2, 3, 0.05)):
        between[one, other] = between[other, one] = error
    found = estimate(GroupErrors(between, np.array([0.5, 0.5, 0.4, 0.5, np.nan])), np.full(5, 50))
    assert found.groups.tolist() == [0, 1, 2, 3] and found.floor == 0.05
    assert found.threshold[0, 1] == pytest.approx(upper_end(0.05, 100)) and 0.09 < found.threshold[0, 1] < 0.2
    edges = found.graph.matrix > 0
    assert edges.sum() == 4 + 4 and edges[0, 3] and edges[1, 2] and found.graph.components.tolist() == [0, 1, 1, 0]
    assert found.share_of_edges == pytest.approx(2 / 6) and found.errors[0, 2] == 0.09


def test_mean_and_agreement_are_over_seeds_that_were_measured_as_a_whole(estimated: EstimatedGraph) -> None:
    one, other, begun = GroupErrors.none(5), GroupErrors.none(5), GroupErrors.none(5)
    for found, value in ((one, 0.2), (other, 0.4)):
        found.between[:], found.within[:] = value, 0.5
    begun.within[:2] = 0.5
    mean = mean_errors({0: one, 1: other, 2: begun})
    assert np.allclose(mean.between, 0.3) and np.allclose(mean.within, 0.5)
    same = seed_agreement([estimated, estimated], 2)
    assert same == pytest.approx(np.ones((2, 2)))


def test_eigenvalues_below_0_are_said_as_they_are() -> None:
    between = np.array([[np.nan, 0.7, 0.05], [0.7, np.nan, 0.05], [0.05, 0.05, np.nan]])
    found = facts(estimate(GroupErrors(between, np.full(3, 0.5)), np.full(3, 50)), [])
    assert found.spectrum.values.tolist() == pytest.approx([1, 1, 0])
    text = "\n".join(say(found))
    assert f"1.0000 (no. 1), 1.0000 (no. 2), {(0.5 - 0.7) / 1.2:.4f} (no. 3)\n" in text
    assert "1 eigenvalue(s) are below 0, where an exact graph has none" in text
