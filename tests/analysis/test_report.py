"""The report: well-formed, one file, every text escaped, the numbers those of the table; written when it must be."""

import base64
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import publication
from analysis.__main__ import main
from analysis.claims import check
from analysis.claims.base.standing import tally
from analysis.curves import add_curves
from analysis.figures import finetuning, transfer_by_method
from analysis.figures.base.numbers import Frame, num_classes
from analysis.finetuned_choice import PROTOCOLS
from analysis.pipeline import MEASUREMENTS
from analysis.report import payload, records
from analysis.report.domain_tables import finetuning_table, transfer_table
from analysis.report.facts import gather
from analysis.report.images import MAX_BYTES, figures
from analysis.report.page import render
from analysis.report.results import estimate, results, with_networks
from analysis.report.tables import results_table, targets_table
from analysis.table import read_table
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE
from ray_ssl.ledger import DATA, DONE, Ledger
from ray_ssl.storage import Storage
from tests.analysis.figure_tables import SHAPES, lookup, synthetic, table_of, with_foreign, with_holes
from tests.analysis.finetuned_tables import BEST, RATES, fine_tuned
from tests.analysis.report_sweeps import CARD, DONE_RECORD, EVIL, Page, decoded, fail, make_sweep, write_table
from tests.analysis.transfer_tables import METHODS, transferred

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def table_in(ledger: Ledger) -> Frame:
    return read_table(ledger.sweep.filesystem, ledger.sweep.path(MEASUREMENTS))


def page_of(ledger: Ledger, files: dict[str, bytes] | None = None) -> Page:
    return Page(render(gather(ledger), table_in(ledger), files or {}))


def assert_alone(read: Page) -> None:
    """Nothing in the page is fetched; what leaves it is a link that one must follow oneself."""
    for tag, name, value in read.attributes:
        assert not name.startswith("on")
        assert tag not in ("iframe", "link", "base", "object", "embed")
        if name in ("src", "srcset", "data", "action", "poster", "background"):
            assert value.startswith("data:")
        if name == "href":
            assert tag == "a" and value.startswith(("#", "https://arxiv.org/abs/"))
    assert {value[1:] for _, name, value in read.attributes if name == "href" and value[0] == "#"} <= set(read.ids)


def test_everything_a_reader_asks_for_is_there(tmp_path: Path) -> None:
    ledger = make_sweep(tmp_path / "study")
    failed = fail(ledger, "the loss is not finite")
    collapsed = next(t for t in ledger.known_trials() if t.key != failed.key)
    ledger.end(collapsed.key, DONE, DONE_RECORD | {"collapsed": True})
    read = page_of(ledger, {"accuracy_by_epoch.svg": SVG, "accuracy_by_epoch.csv": b"1"})
    assert_alone(read)
    for words in (
        "study", "What is asked?", "More of it", "1 of 7 trials failed; 1 of 7 trials collapsed", "see below",
        failed.name, failed.key, "the loss is not finite", f"{failed.key}/error.txt", "Test accuracy of the rep",
        "backbone.depth", "1, 2, 9", "seed", "0, 1, 2", "shapes: 4,000 for training, 1,000 for testing, 20 classes",
        "python sweeps/depth_width.py --depths 1 2", "/a/folder", f"python -m analysis {tmp_path}/study",
        "mlflow ui --backend-store-uri sqlite:////a/mlflow.db", "fp32", "a<b>", "num train images 4000",
        "depth 1", "\N{PLUS-MINUS SIGN}", "options that all trials share", "optimiser.momentum",
    ):  # fmt: skip
        assert words in read.text, words
    differing = re.findall(r"^\s*views\.", read.text, re.M)
    assert differing == [], "options that all trials share are no differences"


def test_what_users_wrote_stays_text(tmp_path: Path) -> None:
    ledger = make_sweep(tmp_path / "a&b<i>", (1,), (0,))
    ledger.sweep.delete("sweep.json")
    ledger.open(EVIL, {})
    ledger.remember_command(f"python x.py --name {EVIL}", EVIL)
    fail(ledger, EVIL)
    evil = synthetic((3,), (16,), (0,), (20,)).assign(trial_key="evil", dataset=f"folder:{EVIL}", method=EVIL)
    evil.loc[evil.layer == 1, "layer_name"] = EVIL
    write_table(ledger, evil)
    read = page_of(ledger, {f"{EVIL}.svg".replace("/", "_"): SVG})
    assert_alone(read)
    assert not any(tag == "img" and not value.startswith("data:image/") for tag, name, value in read.attributes
                   if name == "src")  # fmt: skip
    assert set(read.scripts) == {"application/json", ""} and "alert" not in read.scripts[""]
    assert read.text.count(EVIL) >= 4
    assert EVIL in {trial["network"] for trial in read.measurements["trials"]} | {
        name for layers in read.measurements["layers"] for _, name in layers
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_any_table_makes_a_page_with_its_numbers(shape: str, tmp_path: Path) -> None:
    rows = table_of(shape)
    read = Page(render(gather(Ledger(Storage.at(tmp_path))), rows, {}))
    assert_alone(read)
    expected, found = lookup(rows), decoded(read.measurements)
    assert set(expected) == set(found)
    for key, value in expected.items():
        shown = found[key]
        if math.isfinite(value):
            assert shown == pytest.approx(value, rel=5e-5), key
        else:
            assert shown is None


def test_foreign_networks_and_several_data_sets_stand_side_by_side(tmp_path: Path) -> None:
    other = synthetic((2,), (16,), (0,), dataset="cifar10").assign(trial_key="other")
    rows = pd.concat([with_foreign(synthetic((2,), (16,), (0,)), 2), other], ignore_index=True)
    read = Page(render(gather(Ledger(Storage.at(tmp_path))), rows, {}))
    assert "trained elsewhere" in read.text and "0foreign" in read.text
    assert {trial["dataset"] for trial in read.measurements["trials"]} == {"shapes", "cifar10"}
    assert {row.dataset for row in results(with_networks(rows))} == {"shapes", "cifar10"}


def test_results_are_of_trials_at_their_end(tmp_path: Path) -> None:
    ledger = make_sweep(tmp_path, (1,), (0,))
    failed = fail(ledger, "x")
    write_table(ledger, synthetic((9,), (16,), (0,)).assign(trial_key=failed.key))
    html = render(gather(ledger), table_in(ledger), {})
    shown = html[html.index('id="results"') : html.index('id="chart"')]
    assert "depth 1" in shown and "depth 9" not in shown
    assert "Left out: 1 measured trial(s) that failed or are not at their end." in shown


def test_a_page_of_encoders_says_so(tmp_path: Path) -> None:
    rows = synthetic((2,), (16,), (0,)).assign(method="foreign", trial_key="0foreign")
    read = Page(
        render(gather(Ledger(Storage.at(tmp_path))), rows, {"umap_of_superclasses_by_layer_and_epoch.svg": SVG})
    )
    assert "Report of encoders" in read.text and "trained elsewhere, measured here" in read.text
    assert "No question" not in read.text and "Sweep report" not in read.text and "`" not in read.text


def test_the_page_of_an_old_sweep_says_that_it_has_no_question(tmp_path: Path) -> None:
    ledger = make_sweep(tmp_path, (1,), (0,))
    for name in ("sweep.json", "commands.json", "data.json", "tracking.json"):
        ledger.sweep.delete(name)
    read = page_of(ledger)
    assert "No question is recorded" in read.text and "is not recorded; the same command resumes it" in read.text
    assert "mlflow" not in read.text


def test_confidence_intervals_are_those_of_scipy() -> None:
    values = [0.31, 0.35, 0.30, 0.42]
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    found = estimate(values)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high), rel=1e-12)
    assert math.isnan(estimate([0.3]).half_width) and estimate([0.3]).mean == 0.3


def test_results_are_of_the_last_epoch_and_the_best_layer() -> None:
    rows = with_networks(with_holes(synthetic((2, 5), (16,))))
    for row in results(rows):
        at = rows[(rows.network == row.network) & (rows.level == row.level) & (rows.split == "test")
                  & (rows.metric == "linear_accuracy") & (rows.epoch == 20) & rows.value.notna()]  # fmt: skip
        by_layer = {name: list(part.value) for name, part in at.groupby("layer_name")}
        means = {name: sum(values) / len(values) for name, values in by_layer.items()}
        layer, best = row.best["linear_accuracy"]
        assert means[layer] == max(means.values()) == pytest.approx(best.mean)
        assert row.representation["linear_accuracy"].n == len(by_layer["representation"])
        assert row.epoch == 20


def test_source_and_target_are_the_figures_numbers_with_their_interval() -> None:
    table = transferred()
    cells = cells_of(transfer_table(table))
    assert cells[0][:4] == ["trained on", "head", "in the source", "in the target"] and len(cells) == 1 + 3 * len(
        METHODS
    )
    assert [row[0] for row in cells[1::3]] == sorted(
        METHODS, key=lambda name: -METHODS[name][0]
    )  # one depth, one width
    shown = transfer_by_method.numbers(table)
    for row in cells[1:]:
        network = f"{row[0]}, depth 2, width 16"
        centred = "centred_" if "centred" in row[1] else ""
        head = "logistic" if row[1] == "logistic" else f"{centred}pfa{row[1][-1]}"
        for cell, domain in zip(row[2:4], ("source", "target"), strict=True):
            values = table[(table["method"] == row[0]) & (table["metric"] == f"{domain}_accuracy_{head}")
                           & (table["epoch"] == 20) & (table["split"] == "test")
                           & (table["layer_name"] == "representation")]["value"]  # fmt: skip
            low, _ = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
            assert cell == f"{100 * values.mean():.1f} \N{PLUS-MINUS SIGN} {100 * (values.mean() - low):.1f}"
            one = shown[(shown["network"] == network) & (shown["domain"] == domain) & (shown["head"] == head)]
            assert one["mean"].tolist() == pytest.approx([values.mean()])
        assert len(row) == 8 and row[-1] == "3"
    alone = cells_of(transfer_table(table[table["method"] == "swav (source)"]))  # no figure compares one method
    heads = [
        "logistic",
        "PFA, t\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}2",
        "PFA, centred, t\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1",
    ]
    assert [row[1] for row in alone[1:]] == heads
    assert transfer_table(synthetic()) == "" == finetuning_table(synthetic())


def test_lp_ft_and_both_are_the_figures_numbers_and_are_no_networks_of_the_results() -> None:
    table = fine_tuned(pretrained=(10, 100))
    cells = cells_of(finetuning_table(table))
    assert [row[0] for row in cells] == ["protocol", *(2 * ["LP", "FT", "LP-FT"])]
    shown = finetuning.numbers(table)
    shown = shown.assign(protocol=shown["protocol"].map(PROTOCOLS))
    for row in cells[1:]:
        one = shown[(shown["protocol"] == row[0]) & (shown["pretrained_epoch"] == int(row[1]))].set_index("images")
        for cell, images in zip(row[2:4], ("test", "target"), strict=True):
            mean, spread = one.loc[images, "mean"], one.loc[images, "spread"]
            interval = "" if row[0] == "LP" else f" \N{PLUS-MINUS SIGN} {100 * spread:.1f}"
            assert cell == f"{100 * mean:.1f}{interval}"
        assert row[6:] == (["\N{EN DASH}", "\N{EN DASH}", "1"] if row[0] == "LP" else [f"{RATES[BEST]:g}", "4", "3"])
        head = " (probed head)" if row[0] == "LP-FT" else ""
        ours = (table["method"] == f"supervised from vicreg-2-16-s0-e{row[1]}{head}") & (table["epoch"] == 4)
        rates = table[(table["metric"] == "peak_learning_rate") & (table["value"] == RATES[BEST])]["trial_key"]
        ours &= table["trial_key"].isin(rates) & (table["layer_name"] == "representation")
        ours &= table["metric"] == "relative_feature_distance"
        for cell, images in zip(row[4:6], ("test", "target"), strict=True):
            mean = table[ours & (table["split"] == images)]["value"].mean()
            assert cell == "\N{EN DASH}" if row[0] == "LP" else cell.startswith(f"{mean:.2f} \N{PLUS-MINUS SIGN} ")
    measured = synthetic((2,), (16,), (0,)).assign(
        method=table["method"].iloc[0]
    )  # its layers, by linear probe and NCC
    assert results_table(with_networks(measured)) == ""
    assert "source (ID)" in finetuning_table(table[table["split"] != "target"])
    assert "target (OOD)" not in finetuning_table(table[table["split"] != "target"])


def cells_of(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


@pytest.mark.parametrize(
    ("table", "first"),
    [
        (transferred((0,)), {"metric": "target_accuracy_logistic", "split": "test"}),
        (fine_tuned((0,), (100,)), {"metric": "head_accuracy", "split": "target"}),
        (fine_tuned((0,), (100,)).query("split != 'target'"), {"metric": "head_accuracy", "split": "test"}),
        (synthetic((2,), (16,), (0,)), {"metric": "linear_accuracy", "split": "test"}),
    ],
)
def test_the_chart_opens_on_what_the_study_is_about(table: Frame, first: dict[str, str]) -> None:
    assert payload.payload(with_networks(table))["first"] == first


def test_the_number_of_classes_is_in_the_table_whatever_was_measured(tmp_path: Path) -> None:
    ledger = make_sweep(tmp_path, depths=(1,), seeds=(0,))
    table = table_in(ledger)
    assert (table["metric"] == "num_classes").any() and num_classes(table)["superclass"] == 5
    for name in ledger.sweep.names(MEASUREMENTS):
        ledger.sweep.delete(f"{MEASUREMENTS}/{name}")
    write_table(ledger, table[(table["metric"] != "num_classes")])
    for changes in (True, False):  # once
        assert add_curves(ledger, table_in(ledger)) is changes
        found = table_in(ledger)
        assert num_classes(found) == {"class": 20, "superclass": 5}
        assert len(found[found["metric"] == "num_classes"]) == 2


def test_networks_are_ranked_the_best_of_each_method_first() -> None:
    rows = with_networks(synthetic((2,), (16, 32, 64), (0, 1), methods=("a", "b")))
    at = (rows.metric == "linear_accuracy") & (rows.split == "test") & (rows.level == "class")
    last = at & (rows.epoch == 20) & (rows.layer_name == "representation")
    rows.loc[at & ~last, "value"] = rows.loc[at & ~last, "width"] / 100  # not what counts
    good = {("a", 16): 0.5, ("a", 32): 0.9, ("a", 64): 0.7, ("b", 16): 0.2, ("b", 32): 0.1, ("b", 64): 0.3}
    rows.loc[last, "value"] = [
        good[method, width] + 0.3 * (seed - 0.5)
        for method, width, seed in rows.loc[last, ["method", "width", "seed"]].itertuples(index=False)
    ]
    page = payload.payload(rows)
    names = [page["trials"][trial]["network"] for trial in page["ranked"]]
    order = (("a", 32), ("b", 64), ("a", 64), ("b", 16), ("a", 16), ("b", 32))
    assert names == [f"{method}, depth 2, width {width}" for method, width in order]
    nowhere = payload.payload(rows[~at])
    assert {nowhere["trials"][trial]["method"] for trial in nowhere["ranked"][:2]} == {"a", "b"}


def test_no_more_images_are_measured_than_there_are(tmp_path: Path) -> None:
    ledger = make_sweep(tmp_path, (1,), (0,))
    assert "num test images 1000, num train images 4000" in page_of(ledger).text
    card = CARD | {"num_train": 3000, "num_test": 5000}
    ledger.sweep.write_sealed(DATA, {"of": "", "card": card})
    assert "measured onnum test images 1000, num train images 3000" in page_of(ledger).text
    ledger.sweep.delete(DATA)
    assert "measured on at mostnum test images 1000, num train images 4000" in page_of(ledger).text


def test_settings_inside_settings_are_told_too() -> None:
    settings = {"num_samples": 20, "view_family": {"crop_sizes": [20, 24], "flip": True}, "class_graph": ""}
    facts = replace(gather(Ledger(Storage.at("nowhere"))), settings={"spectral_alignment@graph": settings})
    assert list(records._by_settings(facts)) == ["num samples 20, crop sizes 20 24, flip True"]


def test_of_equal_layers_the_representation_is_named() -> None:
    rows = synthetic((2,), (16,), (0,), (20,))
    rows["value"] = rows.value.where(rows.metric != "linear_accuracy", 0.25)
    assert {row.best["linear_accuracy"][0] for row in results(with_networks(rows))} == {"representation"}


def test_a_large_table_fits_by_the_rule_that_the_page_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "MAX_VALUES", 3000)
    rows = with_networks(synthetic((2, 5), (16, 32), (0,), tuple(range(12))))
    found = payload.payload(rows)
    assert found["total"] == len(rows) and found["shown"] == len(decoded(found)) <= 3000
    assert {0, 11} <= {epoch for epochs in found["epochs"] for epoch in epochs}
    assert len(found["trials"]) == 4
    monkeypatch.setattr(payload, "MAX_VALUES", 1000)
    found = payload.payload(rows)
    assert found["shown"] <= 1000 and 0 < len(found["trials"]) < 4


def test_sixty_networks_make_a_page_of_a_few_megabytes(tmp_path: Path) -> None:
    depths, widths = tuple(range(6, 12)), tuple(range(8, 18))
    rows = synthetic(depths, widths, (0,), (0, 1, 2, 4, 8, 16, 32, 64))
    html = render(gather(Ledger(Storage.at(tmp_path))), rows, {})
    read = Page(html)
    assert len(read.measurements["trials"]) == 60
    assert read.measurements["shown"] == len(rows) < payload.MAX_VALUES
    assert len(html) < 3_000_000


def test_figures_are_vectors_as_long_as_they_fit() -> None:
    half = MAX_BYTES // 2
    assert "svg+xml" in figures({"a.svg": b"x" * half, "a.png": b"x"})
    found = figures({"a.svg": b"x" * half, "b.svg": b"x" * (half + 9), "a.png": b"x", "b.png": b"x"})
    assert found.count("svg+xml") == found.count("image/png") == 1
    found = figures({"a.svg": b"x" * 9, "b.svg": b"x" * (MAX_BYTES + 1)})
    assert "Too large for this page: figures/b.svg" in found and found.count("base64") == 1
    assert figures({}) == ""


def test_figures_stand_under_their_topic_where_there_are_several() -> None:
    names = ("fig1", "four_clusters", "accuracy_by_epoch", "transfer_by_method-a_set", "of_another_version")
    found = figures({f"{name}.svg": b"x" for name in names})
    order = [*("Source and target", "figures/four_clusters", "figures/transfer_by_method-a_set"),
             *("Overviews", "figures/accuracy_by_epoch", "figures/of_another_version"),
             *("Panels of", "figures/fig1<")]  # fmt: skip
    assert [found.index(words) for words in order] == sorted(found.index(words) for words in order)
    assert found.count("<h3>") == 3 and "<h3>" not in figures({"four_clusters.svg": b"x"})


def test_claims_are_shown_with_their_verdicts(tmp_path: Path) -> None:
    rows = synthetic((2,), (16,))
    read = Page(render(gather(Ledger(Storage.at(tmp_path))), rows, {}))
    found: Frame = check(rows, str(tmp_path))
    assert {"holds", "not enough data"} <= set(found["verdict"])
    for _, claim in found.iterrows():
        assert claim["statement"] in read.text and claim["statistic"] in read.text and claim["note"] in read.text
        if not math.isnan(claim["low"]):
            assert f"{claim['low']:.3g} to {claim['high']:.3g} over {claim['basis']}" in read.text
    assert f"{tally(found)}. Published trends" in read.text and tally(found).endswith(" not measured")


def test_every_target_stands_with_what_it_is() -> None:
    facts = {"target_randomness": (0.0, 1.0), "target_agreement": (0.53, 0.01), "target_entropy": (4.5, 0.0),
             "target_num_used": (100.0, 1.0)}  # fmt: skip
    found = [
        {"dataset": "x", "level": level, "split": "train", "metric": metric, "value": values[i]}
        for metric, values in facts.items()
        for i, level in enumerate(("teacher-0.00", "teacher-1.00"))
    ]
    first, last = cells_of(targets_table(pd.DataFrame(found)))[1:]
    assert first == ["teacher-0.00", "0.00", "53.0", "4.50", "100", ""]
    assert last == ["teacher-1.00", "1.00", "1.0", "0.00", "1", "degenerate: one label alone"]
    share = {"dataset": "x", "level": "teacher-0.00", "metric": "target_largest_share"}
    found += [share | {"split": "test", "value": 0.538}, share | {"split": "train", "value": 0.6}]
    head, first, last = cells_of(targets_table(pd.DataFrame(found)))
    assert head[5] == "most frequent label of test images" and first[5] == "53.8" and last[5] == "\N{EN DASH}"
    for value, words in ((0.95, ""), (0.97, "degenerate: 97 % on one label")):  # as `sweeps/target_table.py` has it
        found[-1]["value"] = value
        assert cells_of(targets_table(pd.DataFrame(found)))[1][-1] == words
    assert targets_table(pd.DataFrame(found).assign(metric="cdnv")) == ""


def test_the_command_writes_the_page_and_draws_what_is_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = make_sweep(tmp_path, (1,), (0,))
    assert main(["report", str(tmp_path)]) == EXIT_DONE
    assert capsys.readouterr().out == f"report    {tmp_path}/report.html\n"
    read = Page((tmp_path / "report.html").read_text())
    assert_alone(read)
    assert sum(tag == "img" for tag, name, _ in read.attributes if name == "src") == len(
        [name for name in ledger.sweep.names("figures") if name.endswith(".svg")]
    )
    assert main(["report", str(tmp_path / "nothing")]) == EXIT_BAD_INPUT
    assert "there is no folder" in capsys.readouterr().err
    assert main(["report", str(tmp_path.parent)]) == EXIT_BAD_INPUT
    assert f"the sweeps in it: {tmp_path.name}" in capsys.readouterr().err


def test_figures_older_than_the_table_are_drawn_again_of_the_trial_that_was_drawn_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = make_sweep(tmp_path, (1, 2), (0,))
    sweep, (first, _) = ledger.sweep, ledger.known_trials()
    drawn: list[set[str]] = []

    def draw_all(table: Frame, folder: Path, points: Frame) -> list[Path]:
        drawn.append(set(table["trial_key"]))
        folder.mkdir()
        (folder / "fig1.svg").write_bytes(b"<svg>%d</svg>" % len(drawn))
        return [folder / "fig1.svg"]

    monkeypatch.setattr("analysis.figures.base.draw_all", draw_all)
    sweep.write("figures/fig1.svg", SVG)
    publication.record_drawn(sweep, publication.drawn_from(sweep, first), ["fig1.svg"], 1, first)
    for _ in range(2):  # up to date
        assert main(["report", str(tmp_path)]) == EXIT_DONE and drawn == []
    write_table(ledger, table_in(ledger).query("epoch == 20").assign(epoch=21))
    for _ in range(2):  # drawn once
        assert main(["report", str(tmp_path)]) == EXIT_DONE and drawn == [{first.key}]
    assert sweep.read("figures/fig1.svg") == b"<svg>1</svg>"
    assert f"base64,{base64.b64encode(b'<svg>1</svg>').decode()}" in sweep.read("report.html").decode()
    assert publication.has_report(sweep, publication.report_from(ledger, publication.drawn_from(sweep, first)))


def test_it_is_up_to_date_until_something_that_it_shows_changes(tmp_path: Path) -> None:
    ledger = make_sweep(tmp_path, (1,), (0,))
    sweep = ledger.sweep

    def now() -> str:
        return publication.report_from(ledger, publication.drawn_from(sweep, None))

    sweep.write("report.html", b"")
    publication.record_report(sweep, now())
    assert publication.has_report(sweep, now())
    changes = (
        lambda: fail(ledger, "one reason"),
        lambda: fail(ledger, "another reason"),
        lambda: ledger.remember_command("python sweeps/depth_width.py --retry-failed", "/a"),
        lambda: write_table(ledger, synthetic((4,), (16,), (0,), (0,))),
        lambda: sweep.delete("sweep.json"),
    )
    for change in changes:
        before = now()
        change()
        assert now() != before and not publication.has_report(sweep, now())
        publication.record_report(sweep, now())
    sweep.delete("report.html")
    assert not publication.has_report(sweep, now())


def test_commands_are_kept_once_each_the_last_one_last(tmp_path: Path) -> None:
    ledger = Ledger(Storage.at(tmp_path))
    for line in ("a", "b", "b", "a"):
        ledger.remember_command(line, "/")
    assert [command["line"] for command in ledger.commands()] == ["b", "a"]
