"""Every call to MLflow: synchronous, and each may be made again without leaving a second run or point.

What makes repeats harmless: a run is found by its tags; MLflow's primary key of a point is (run, metric, step,
timestamp, value), so the same point with the same timestamp is stored once; and the marker metric `epoch`, which
closes every step, tells how far a run came. Slow to import MLflow (3 to 5 s), so it is imported on opening.
"""

import json
import math
import posixpath
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ray_ssl.errors import UserError
from ray_ssl.mlflow_artifacts import find_artifacts
from ray_ssl.mlflow_client import experiment_id, explain, is_final, open_client

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

MARKER: Final = "epoch"  # metric whose value is its step; logged last in every step
SWEEP_TAG: Final = "ray_ssl.sweep"
KEY_TAG: Final = "ray_ssl.trial_key"
DESCRIBED_TAG: Final = "ray_ssl.described"  # set once parameters and artifacts have arrived
REASON_TAG: Final = "ray_ssl.reason"
INFINITE_TAG: Final = "ray_ssl.infinite"
PARENT_TAG: Final = "mlflow.parentRunId"
PARENT: Final = ""  # key of the sweep's own run

_MAX_PARAM, _MAX_TAG, _MAX_NAME = 6000, 5000, 250  # characters; MLflow's own limits, tags below its 8,000
_BATCH_COUNT, _BATCH_BYTES = {"metrics": 990, "params": 100}, 500_000  # MLflow: 1,000, 100 and 1 MB
_PAGE = 200  # runs a page: a page must come within the short time-out


class Point(NamedTuple):
    """The metrics of one step."""

    step: int
    timestamp_ms: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class TrialRun:
    """What identifies and describes the run of one trial.

    Args:
        key: The trial's key; the run is found again by it.
        name: What the UI shows, e.g. "vicreg RES-5-64 seed 0".
        params: Options; one longer than 6,000 characters is cut visibly, so give the whole in an artifact.
        tags: Further tags, e.g. the host.
        artifacts: File name -> text, e.g. config.json; logged once.
        start_ms: When the trial began, in milliseconds since 1970 (default: when its run is created).
    """

    key: str
    name: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    start_ms: int | None = None


@dataclass
class StoredRun:
    """What is known of one run in MLflow without asking again."""

    run_id: str
    status: str
    last_step: int = -1  # every step up to it has arrived
    start_ms: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: set[str] = field(default_factory=set)
    lost: bool = False  # refused a point: takes no more until begun again, so that no step is left out


class Refused(Exception):
    """MLflow will never take this; trying again is useless."""


class RunStore:
    """The runs of one sweep: a parent, and one child a trial. For one thread at a time."""

    def __init__(self, uri: str, experiment: str, sweep: str, artifact_root: str | None):
        self.uri, self._experiment, self._sweep, self._artifact_root = uri, experiment, sweep, artifact_root
        self.runs: dict[str, StoredRun] = {}
        self._doubtful: set[str] = set()  # keys whose run may have been created by a call that failed

    def open(self, owner: bool) -> None:
        """Connects, reads which runs exist, finds or creates the parent.

        Args:
            owner: The caller runs the sweep: runs left RUNNING become KILLED, the parent RUNNING.

        Raises:
            UserError: As `Tracker.connect`.
        """
        try:
            self._client = open_client(self.uri)
            find_artifacts(self._client.tracking_uri)
            self._experiment_id = experiment_id(self._client, self._experiment, self._artifact_root)
            self._load(owner)
        except UserError:
            raise
        except Exception as error:  # MLflow and SQLAlchemy raise what they like; all of it is about the address
            raise UserError(explain(error, self.uri)) from error

    def _load(self, owner: bool) -> None:
        spare = []
        for run in self._search(f"tags.`{SWEEP_TAG}` = {_quoted(self._sweep)}"):  # oldest first
            key, stored = run.data.tags.get(KEY_TAG, PARENT), _stored(run)
            if key not in self.runs:
                self.runs[key] = stored
            elif key != PARENT and stored.last_step > self.runs[key].last_step:
                spare.append(self.runs[key])
                self.runs[key] = stored
            elif key != PARENT:
                spare.append(stored)
        if PARENT not in self.runs:
            self._create(PARENT, self._sweep, {})
        if owner:
            self._client.update_run(self.runs[PARENT].run_id, status="RUNNING")
            for run in spare:  # empty twins that a creation of unknown outcome left behind
                self._client.delete_run(run.run_id)
            for key, run in self.runs.items():
                if key != PARENT and run.status == "RUNNING":
                    self.end(key, "KILLED", "the driver was killed")

    def begin(self, trial: TrialRun) -> None:
        """Finds or creates the run of a trial, makes it RUNNING and describes it once."""
        run = self.runs.get(trial.key)
        if run is not None and not self._revive(run):
            del self.runs[trial.key]  # deleted by someone: it is logged anew
            run = None
        if run is None:
            self._create(trial.key, trial.name, trial.tags, trial.start_ms)
        self.runs[trial.key].lost = False
        if DESCRIBED_TAG not in self.runs[trial.key].tags:
            self._describe(trial)

    def points(self, key: str, points: Iterable[Point]) -> None:
        """Logs steps, in rising order; those that arrived before are left out.

        NaN is stored as NaN. So is an infinite value (MLflow would store 1.8e308, which ruins every axis);
        the first is named in the tag `ray_ssl.infinite`.
        """
        from mlflow.entities import Metric, RunTag

        run = self._run(key)
        if run.lost:
            return
        metrics, infinite, last = [], [], run.last_step
        for step, timestamp_ms, values in points:
            if step <= last:
                continue
            last = step
            for name, value in values.items():
                if math.isinf(value):
                    infinite.append(f"{name} at step {step}")
                if name != MARKER:
                    metrics.append(Metric(metric_name(name), _storable(value), timestamp_ms, step))
            metrics.append(Metric(MARKER, step, timestamp_ms, step))
        tags = [RunTag(INFINITE_TAG, infinite[0])] if infinite and INFINITE_TAG not in run.tags else []
        try:
            for batch in _batches(metrics, "metrics"):
                run.metrics.update(metric.key for metric in batch)
                self._client.log_batch(run.run_id, metrics=batch, tags=tags, synchronous=True)
                run.last_step = max([run.last_step, *(m.step for m in batch if m.key == MARKER)])
                run.tags.update((tag.key, tag.value) for tag in tags)
        except Exception as error:
            run.lost = is_final(error, self.uri)
            raise

    def series(self, key: str, metric: str, series: dict[int, float], timestamp_ms: int) -> None:
        """Logs the values of one metric at steps that it does not have yet."""
        from mlflow.entities import Metric

        run, name, present = self._run(key), metric_name(metric), set[int]()
        if name in run.metrics:
            present = {point.step for point in self._client.get_metric_history(run.run_id, name)}
        run.metrics.add(name)
        missing = [Metric(name, _storable(v), timestamp_ms, s) for s, v in series.items() if s not in present]
        for batch in _batches(missing, "metrics"):
            self._client.log_batch(run.run_id, metrics=batch, synchronous=True)

    def params(self, key: str, params: dict[str, str]) -> None:
        """Logs parameters. MLflow never changes one: a new value becomes the tag `ray_ssl.now.NAME`."""
        from mlflow.entities import Param

        run = self._run(key)
        wanted = {metric_name(k): _cut(str(v), _MAX_PARAM, "whole text in the artifacts") for k, v in params.items()}
        new = [Param(name, value) for name, value in wanted.items() if name not in run.params]
        for batch in _batches(new, "params"):
            self._client.log_batch(run.run_id, params=batch, synchronous=True)
            run.params.update((param.key, param.value) for param in batch)
        for name, value in wanted.items():
            if run.params[name] != value:
                self._set_tag(run, f"ray_ssl.now.{name}"[:_MAX_NAME], value)

    def artifact(self, key: str, path: Path, folder: str) -> None:
        """Uploads a file, or all files of a folder; a file of that name is replaced."""
        upload = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        upload(self._run(key).run_id, str(path), folder or None)

    def end(self, key: str, status: str, reason: str = "", end_ms: int | None = None) -> None:
        """Sets the final status; a reason of an earlier end is replaced or removed."""
        run = self._run(key)
        if reason:
            self._set_tag(run, REASON_TAG, reason)
        elif REASON_TAG in run.tags:
            self._client.delete_tag(run.run_id, REASON_TAG)
            del run.tags[REASON_TAG]
        end_ms = now_ms() if end_ms is None else end_ms
        self._client.set_terminated(run.run_id, status, max(end_ms, run.start_ms))
        run.status = status
        if key in self._doubtful:
            for twin in self._search(self._trial_filter(key)):
                if twin.info.run_id != run.run_id:
                    self._client.delete_run(twin.info.run_id)
            self._doubtful.discard(key)

    def _run(self, key: str) -> StoredRun:
        run = self.runs.get(key)
        if run is None:
            raise Refused("it has no run in MLflow: begin it first")
        return run

    def _revive(self, run: StoredRun) -> bool:
        """Returns whether the run still exists; if so it is RUNNING and below the present parent."""
        try:
            self._client.update_run(run.run_id, status="RUNNING")
        except Exception as error:
            if is_final(error, self.uri):
                return False
            raise
        run.status = "RUNNING"
        if run.tags.get(PARENT_TAG) != self.runs[PARENT].run_id:
            self._set_tag(run, PARENT_TAG, self.runs[PARENT].run_id)
        return True

    def _create(self, key: str, name: str, tags: dict[str, str], start_ms: int | None = None) -> None:
        doubtful = key in self._doubtful
        if doubtful:  # an earlier call failed; it may have arrived all the same
            for run in self._search(self._trial_filter(key)):
                self.runs[key] = _stored(run)
                return
        self._doubtful.add(key)
        tags = {metric_name(k): _cut(str(v), _MAX_TAG) for k, v in tags.items()} | {SWEEP_TAG: self._sweep}
        tags |= {
            "mlflow.source.name": Path(sys.argv[0]).name,
            "mlflow.source.type": "LOCAL",
        }
        if key != PARENT:
            tags |= {KEY_TAG: key, PARENT_TAG: self.runs[PARENT].run_id}
        run = self._client.create_run(self._experiment_id, start_ms, tags, _cut(name, _MAX_NAME) or None)
        self.runs[key] = _stored(run)
        if not doubtful:
            self._doubtful.discard(key)

    def _describe(self, trial: TrialRun) -> None:
        run = self.runs[trial.key]
        self.params(trial.key, trial.params)
        for name, text in trial.artifacts.items():
            self._client.log_text(run.run_id, text, name)
        self._set_tag(run, DESCRIBED_TAG, "true")

    def _set_tag(self, run: StoredRun, tag: str, value: str) -> None:
        self._client.set_tag(run.run_id, tag, _cut(value, _MAX_TAG), synchronous=True)
        run.tags[tag] = value

    def _trial_filter(self, key: str) -> str:
        return f"tags.`{SWEEP_TAG}` = {_quoted(self._sweep)} and tags.`{KEY_TAG}` = {_quoted(key)}"

    def _search(self, condition: str) -> Iterator["MlflowRun"]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], condition, max_results=_PAGE, order_by=["start_time ASC"], page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return


def metric_name(name: str) -> str:
    """Returns a name that MLflow takes: word characters, spaces and `_-.:/`, at most 250, no path tricks."""
    name = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)[:_MAX_NAME]).lstrip("./ ")
    return name or "_"


def _storable(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _cut(text: str, limit: int, where: str = "") -> str:
    """Returns the text, cut visibly where it is longer than the limit."""
    note = f"... (cut from {len(text)} characters{where and '; '}{where})"
    return text if len(text) <= limit else text[: limit - len(note)] + note


def _quoted(text: str) -> str:
    """Returns a value for MLflow's search, whose strings know no escapes."""
    if "'" in text and '"' in text:
        raise UserError(f"a name for MLflow has one kind of quotation mark at most, given {text!r}")
    return f'"{text}"' if "'" in text else f"'{text}'"


def _batches(entities: Sequence[Any], kind: str) -> Iterator[list[Any]]:
    """Cuts metrics or parameters into calls that MLflow takes: by number and by size of the JSON."""
    batch, size = [], 0
    for entity in entities:
        entity_size = len(json.dumps([entity.key, entity.value])) + 100
        if batch and (len(batch) == _BATCH_COUNT[kind] or size + entity_size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entity)
        size += entity_size
    if batch:
        yield batch


def _stored(run: "MlflowRun") -> StoredRun:
    marker = run.data.metrics.get(MARKER)  # MLflow keeps the value of the highest step
    return StoredRun(
        run_id=run.info.run_id,
        status=run.info.status,
        last_step=-1 if marker is None else int(marker),
        start_ms=run.info.start_time or 0,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=set(run.data.metrics),
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000
