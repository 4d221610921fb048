"""What an exact graph looks like: in the table, the report, and on the sweep's MLflow run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csgraph
from sklearn.metrics import normalized_mutual_info_score

from analysis.__main__ import main
from analysis.figures.base.numbers import Frame
from analysis.graph import top_eigenpairs
from analysis.graph.labels import node_labels
from analysis.graph.look import look, measure_look
from analysis.graph.partition import spectral_clusters
from analysis.headline import headline
from analysis.publication import REPORT
from analysis.table import MEASUREMENTS, read_table
from ray_ssl.ledger import Ledger
from ray_ssl.storage import Storage
from tests.analysis.graph.graphs import dense
from tests.analysis.graph.trained import IMAGES, plan_of


def test_what_the_graph_looks_like_is_in_the_table_and_the_report(tmp_path: Path) -> None:
    """Against dense numpy and scikit-learn, of views that are copied as often as they are probable."""
    flags = (*IMAGES, "--resolution", "2", "--sizes", "4")
    assert main(["graph", *flags, "--storage", str(tmp_path)]) == 0
    study, storage = plan_of(*flags).study, Storage.at(tmp_path)
    table: Frame = read_table(storage.filesystem, storage.path(MEASUREMENTS))
    rows = table[table["method"] == "graph"]
    assert set(rows["layer"]) == {-2} and rows["trial_key"].nunique() == 1
    value = {(row.metric.removeprefix("graph_"), row.level): row.value for row in rows.itertuples()}
    weights, degrees, adjacency = dense(study.graph)
    eigenvalues = np.linalg.eigvalsh(adjacency)[::-1]
    known = [value[f"eigenvalue_top{k}", "none"] for k in range(1, len(eigenvalues) + 1)]
    assert known == pytest.approx(eigenvalues, abs=1e-9)
    at = int(value["largest_eigengap_after", "none"])
    assert value["largest_eigengap", "none"] == pytest.approx((eigenvalues[1:-1] - eigenvalues[2:]).max())
    assert value["largest_eigengap", "none"] == pytest.approx(eigenvalues[at - 1] - eigenvalues[at])
    paths = csgraph.shortest_path(weights > 0, unweighted=True)
    inside = study.graph.components == np.bincount(study.graph.components, degrees).argmax()
    hops = paths[np.ix_(inside, inside)]
    assert value["longest_path", "none"] == hops.max() and value["path_nodes", "none"] == inside.sum()
    assert value["mean_path", "none"] == pytest.approx(hops.sum() / (inside.sum() * (inside.sum() - 1)))
    assert value["num_components", "none"] == csgraph.connected_components(weights > 0)[0]
    for level in study.levels:
        labels, count = study.all_labels(level), level.num_classes
        of_node = node_labels(study.graph, labels, count)
        same = of_node[:, None] == of_node[None]
        assert value["weight_within", level.name] == pytest.approx(weights[same].sum())
        assert value["weight_within", level.name] + value["weight_between", level.name] == pytest.approx(1)
        clusters = spectral_clusters(study.graph, top_eigenpairs(study.graph, study.graph.num_nodes), count)
        times = np.round(study.graph.probabilities.toarray() * 1000).astype(int)
        image, node = (np.repeat(one, times.ravel()) for one in np.indices(times.shape).reshape(2, -1))
        nmi = normalized_mutual_info_score(labels[image], clusters[node])
        assert value["cluster_nmi", level.name] == pytest.approx(nmi, abs=1e-3)
        assert value["cluster_nmi_chance", level.name] < value["cluster_nmi", level.name]
        across = [weights[clusters == c][:, clusters != c].sum() / degrees[clusters == c].sum() for c in range(count)]
        assert value["largest_conductance", level.name] == pytest.approx(max(across))
        assert value["largest_conductance_lower", level.name] <= max(across) + 1e-9
    page = storage.read(REPORT).decode()
    seen = page.partition("<h2>What the graph looks like</h2>")[2].partition("</section>")[0]
    assert f"{study.graph.num_nodes} nodes" in seen or f"{study.graph.num_nodes}, views of 100 images" in seen
    assert f"{value['cluster_nmi', 'class']:.2f} ({value['cluster_nmi_chance', 'class']:.2f})" in seen
    logged = headline(Ledger(storage), table)
    assert logged["graph/class/cluster_nmi"] == value["cluster_nmi", "class"]
    assert logged["graph/num_components"] == value["num_components", "none"]
    assert not any("eigenvalue_top" in name for name in logged)


def test_there_are_as_many_clusters_as_labels_that_occur() -> None:
    study = plan_of("--dataset", "shapes", "--num-images", "2", "--num-test-images", "2", "--resolution", "2").study
    found = {(m.level, m.metric): m.value for m in measure_look(study, look(study))}
    occurring = {level.name: len(np.unique(study.all_labels(level))) for level in study.levels}
    assert occurring == {"class": 2} and study.left_out == {"superclass": "all images have the same"}
    assert {level: found[level, "graph_num_labels"] for level in occurring} == occurring
    assert ("class", "graph_cluster_nmi") in found and "superclass" not in {level for level, _ in found}
