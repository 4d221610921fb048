"""Encoders against the eigenvectors of estimated graphs: figure, claim, and the commands that give what is lacking."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from analysis.claims import check
from analysis.claims.base.contract import FAILS, HOLDS, UNKNOWN
from analysis.figures import estimated_eigenvectors as figure
from analysis.figures.base.numbers import Frame
from analysis.lacking import first_lacking
from analysis.table import SCHEMA
from tests.analysis.test_figures import assert_drawn_from_numbers, assert_fit_for_print, assert_no_text_overlaps

CLAIM = "encoders_approach_estimated_eigenvectors"
NODES = {"class": 100, "sample": 500}
EPOCHS = (0, 1, 4, 12)


@pytest.fixture(scope="module")
def table() -> Frame:
    """Alignment that rises, of two methods and three seeds, of two layers, and how far estimates agree."""
    rng, rows = np.random.default_rng(0), []
    for method, seed in [(m, s) for m in ("vicreg", "spectral") for s in range(3)]:
        trial = ("sweep", f"{method}{seed}", method, 1, 32, seed, "cifar100")
        rows.append((*trial, 0, -2, "images", "none", "test", "class_graph_agreement_top10", 0.81 + seed / 100))
        for epoch, layer, level, split in [
            (e, i, v, s) for e in EPOCHS for i in range(2) for v in NODES for s in ("train", "test")
        ]:
            at = (*trial, epoch, layer, ("block1", "representation")[layer], level, split)
            value = 0.2 + 0.01 * epoch + 0.1 * layer + 0.003 * rng.random() + 0.01 * (split == "train")
            rows += [(*at, figure.ALIGNMENT, value), (*at, figure.NUM_NODES, float(NODES[level]))]
    return pd.DataFrame(rows, columns=SCHEMA.names)


def test_each_graph_has_a_panel_of_the_representations_test_views_and_its_random_level(table: Frame) -> None:
    found = figure.numbers(table)
    assert len(found) == 2 * 2 * len(EPOCHS) and set(found["level"]) == set(NODES)
    last = table[(table["layer_name"] == "representation") & (table["split"] == "test")]
    for _, row in found.iterrows():
        same = last[
            (last["method"] == row["method"]) & (last["level"] == row["level"]) & (last["epoch"] == row["epoch"])
        ]
        values = same.loc[same["metric"] == figure.ALIGNMENT, "value"]
        assert row["n"] == 3 and row["mean"] == pytest.approx(values.mean())
        assert row["chance"] == pytest.approx((1 + 81 / (NODES[row["level"]] - 1)) / 10)
    drawn = figure.draw(table)
    assert drawn is not None
    drawn.draw_without_rendering()
    assert_drawn_from_numbers(drawn, found, "y")
    assert_no_text_overlaps(drawn)
    assert_fit_for_print(drawn)
    texts = " ".join(text.get_text() for text in [*drawn.texts, *(ax.title for ax in drawn.axes)]).replace("\n", " ")
    assert "graph of 100 classes" in texts and "two estimates share 0.82 (classes)" in texts
    assert {"random span 0.18", "random span 0.12"} <= {
        text.get_text().strip("\u2193 ") for text in drawn.findobj(Text)
    }
    assert figure.draw(table[table["epoch"] == 0]) is None


def test_sweeps_have_graphs_and_networks_of_their_own(table: Frame) -> None:
    other = table.assign(sweep="other", trial_key=table["trial_key"] + "o")
    smaller = (other["metric"] == figure.NUM_NODES) & (other["level"] == "sample")
    agree = other["metric"].str.contains("agreement")
    other["value"] = other["value"].mask(smaller, 50.0).where(~agree, 0.9)
    found = figure.numbers(pd.concat([table, other]))
    assert len(found) == 2 * len(figure.numbers(table)) and set(found["n"]) == {3}
    assert set(found["network"].str.partition(", of ")[2]) == {"sweep", "other"}
    of_images = found[found["level"] == "sample"].groupby(found["network"].str.endswith("other"))
    assert of_images["num_nodes"].unique().str[0].to_dict() == {False: 500, True: 50}
    assert of_images["chance"].max().to_list() == pytest.approx([(1 + 81 / 499) / 10, (1 + 81 / 49) / 10])
    drawn = figure.draw(pd.concat([table, other]))
    assert drawn is not None
    texts = " ".join(text.get_text() for text in [*drawn.texts, *(ax.title for ax in drawn.axes)]).replace("\n", " ")
    assert "share 0.82 to 0.90 (classes)" in texts and "every sweep has graphs of its own" in texts


def test_the_claim_is_the_gain_of_class_means(table: Frame) -> None:
    rows = table[(table["level"] == "class") & (table["layer"] == 1) & (table["split"] == "test")]
    at = rows[rows["metric"] == figure.ALIGNMENT].pivot_table(index=["method", "seed"], columns="epoch", values="value")
    found = check(table, names=[CLAIM]).set_index("method")
    for method, one in (at[12] - at[0]).groupby("method"):
        assert found.loc[method, "estimate"] == pytest.approx(one.mean()) and found.loc[method, "verdict"] == HOLDS
    fallen = table.assign(value=table["value"].where(table["epoch"] < 12, 0.1))
    assert set(check(fallen, names=[CLAIM])["verdict"]) == {FAILS}


def test_equal_eigenvalues_are_said_and_a_random_span_has_no_line(table: Frame) -> None:
    equal = table[table["metric"] == figure.NUM_NODES].assign(metric=figure.NUM_EQUAL)
    equal = equal.assign(value=(equal["level"] == "class") * 3.0)
    both = pd.concat([table, equal])
    found = figure.numbers(both)
    assert found.loc[found["level"] == "class", "chance"].isna().all()
    assert found.loc[found["level"] == "sample", "chance"].to_numpy() == pytest.approx((1 + 81 / 499) / 10)
    drawn = figure.draw(both)
    said = " ".join(text.get_text() for text in drawn.texts).replace("\n", " ") if drawn else ""
    assert "in the graph of classes eigenvalues 10 and 11 are equal: compared with the closest span" in said
    notes = check(both, names=[CLAIM])["note"]
    assert notes.str.contains("eigenvalues 10 and 11 are equal: compared with the closest of all spans").all()
    assert not check(table, names=[CLAIM])["note"].str.contains("equal").any()
    assert len(figure.numbers(table)) == len(found) and figure.numbers(table)["chance"].notna().all()


@pytest.mark.parametrize("epochs", [(), (0,)])
def test_what_is_lacking_is_said_with_what_gives_it(table: Frame, epochs: tuple[int, ...]) -> None:
    rows = table[table["epoch"].isin(epochs) | (table["metric"] != figure.ALIGNMENT)]
    lacking = str(first_lacking(figure.NEEDS, rows, "results/study"))
    measure = "python -m analysis results/study --metrics estimated_alignment"
    assert measure in lacking and "estimated_alignment_top10" in lacking
    assert ("python -m analysis connectivity results/study --groups class && " in lacking) == (not epochs)
    one = check(rows, "results/study", [CLAIM]).iloc[0]
    assert one["verdict"] == UNKNOWN and measure in one["note"]
