"""Sweeps that were never trained: records and a table as a sweep leaves them, for the tests of the report."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pandas as pd

from analysis import table
from analysis.pipeline import MEASUREMENTS
from analysis.publication import TRACKING
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.ledger import DATA, DONE, FAILED, Ledger, Trial, make_trials
from ray_ssl.storage import Storage
from tests.analysis.figure_tables import synthetic

EVIL: Final = "</script><script>alert('1')</script><img src=http://evil.example/x onerror=alert(2)> & \"quoted\""
BASE: Final = {"training.epochs": 20, "backbone.width": 16}
CARD: Final = {"name": "shapes", "num_train": 4000, "num_test": 1000, "num_classes": 20, "num_superclasses": 5}
DONE_RECORD: Final = {
    "history": [{"epoch": 1.0, "loss": 2.0}],
    "precision": "fp32",
    "collapsed": False,
    "environment": {"host": "a<b>", "torch": "2.14", "device": "cpu"},
}
VOID: Final = {"meta", "img", "input", "br", "link", "hr"}


def trials_of(depths: tuple[int, ...], seeds: tuple[int, ...]) -> list[Trial]:
    base = replace(PretrainConfig(), BASE)
    return make_trials([replace(base, {"backbone.depth": d, "seed": s}) for d in depths for s in seeds], "images")


def make_sweep(folder: Path, depths: tuple[int, ...] = (1, 2), seeds: tuple[int, ...] = (0, 1, 2)) -> Ledger:
    """A finished sweep with a table, logged to a database that is not there."""
    ledger = Ledger(Storage.at(folder))
    ledger.open("What is asked?\n\nMore of it (arXiv 2305.15614).", {"training.epochs": 20})
    ledger.remember_command("python sweeps/depth_width.py --depths 1 2", "/a/folder")
    ledger.sweep.write_sealed(DATA, {"of": "", "card": CARD})
    where = {"uri": "sqlite:////a/mlflow.db", "experiment": "e", "artifact_root": "/a"}
    ledger.sweep.write_sealed(TRACKING, where)
    rows = []
    for trial in trials_of(depths, seeds):
        ledger.write_config(trial)
        ledger.end(trial.key, DONE, DONE_RECORD)
        depth, seed = trial.config.backbone.model_dump()["depth"], trial.config.seed
        rows.append(synthetic((depth,), (16,), (seed,)).assign(trial_key=trial.key))
    write_table(ledger, pd.concat(rows, ignore_index=True))
    return ledger


def write_table(ledger: Ledger, rows: Any) -> None:
    """Adds parts with these rows."""
    sweep = ledger.sweep
    for (key, epoch), part in rows.groupby(["trial_key", "epoch"]):
        about = table.Checkpoint("sweep", str(key), "vicreg", 1, 1, 0, "shapes", int(epoch))
        values: list[dict[str, Any]] = part.to_dict("records")
        settings = {"num_train_images": 4000, "num_test_images": 1000}
        table.KIND.write(sweep.filesystem, sweep.path(MEASUREMENTS), about, "ncc", values, settings)


def fail(ledger: Ledger, reason: str) -> Trial:
    """One more trial, which failed."""
    (trial,) = trials_of((9,), (0,))
    ledger.write_config(trial)
    ledger.end(trial.key, FAILED, {"reason": reason})
    return trial


class Page(HTMLParser):
    """A page that is checked while it is read: every element is closed in order, and no name is given twice.

    Attributes:
        text: What is read, without scripts and styles.
        attributes: Every (tag, name, value).
        ids: Of its elements.
        scripts: Contents of the script elements by their type, "" where it has none.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.attributes, self.ids = "", [], []
        self.scripts: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self._open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("type") or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, kind = self._open[-1] if self._open else ("", "")
        if tag == "script":
            self.scripts[kind] = self.scripts.get(kind, "") + data
        elif tag != "style":
            self.text += data

    @property
    def measurements(self) -> dict[str, Any]:
        """What the chart reads."""
        return json.loads(self.scripts["application/json"])


def decoded(payload: dict[str, Any]) -> dict[tuple[str, int, int, str, str, str], float | None]:
    """The values of the chart by (trial_key, epoch, layer, level, split, metric)."""
    found = {}
    for trial, metric, level, split, epochs, layers, values in payload["blocks"]:
        places = [(e, n) for e in payload["epochs"][epochs] for n, _ in payload["layers"][layers]]
        assert len(places) == len(values)
        for (epoch, layer), value in zip(places, values, strict=True):
            names = (payload["levels"][level], payload["splits"][split], payload["metrics"][metric])
            key = (payload["trials"][trial]["key"], epoch, layer, *names)
            assert key not in found
            found[key] = value
    return found
