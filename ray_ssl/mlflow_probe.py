"""Looks at the runs of a sweep without importing MLflow, which takes seconds: by SQL in a file, by REST at a server.

Anything unexpected is no answer; the caller then asks MLflow itself.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from ray_ssl.mlflow_store import KEY_TAG, PARENT, SWEEP_TAG

ANSWER_SECONDS: Final = 3.0
_PAGE: Final = 200
_LOGINS: Final = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH")
_QUERY: Final = f"""
SELECT COALESCE(key.value, '{PARENT}'), run.status FROM runs AS run
JOIN experiments AS experiment ON experiment.experiment_id = run.experiment_id
JOIN tags AS sweep ON sweep.run_uuid = run.run_uuid AND sweep.key = '{SWEEP_TAG}'
LEFT JOIN tags AS key ON key.run_uuid = run.run_uuid AND key.key = '{KEY_TAG}'
WHERE run.lifecycle_stage = 'active' AND experiment.lifecycle_stage = 'active'
AND experiment.name = ? AND sweep.value = ?
"""


def run_statuses(uri: str, experiment: str, sweep: str) -> dict[str, str] | None:
    """Returns trial key -> status of its run (`PARENT`: of the sweep's), or None where this cannot be said cheaply.

    Args:
        uri: As for `tracking.Tracker`; so are the other two.
        experiment: Name of the experiment.
        sweep: Name of the sweep.
    """
    try:
        if uri.startswith("sqlite:///"):
            pairs = _of_file(uri.removeprefix("sqlite:///"), experiment, sweep)
        elif uri.startswith("http") and not any(os.environ.get(name) for name in _LOGINS):
            pairs = _of_server(uri.rstrip("/"), experiment, sweep)
        else:
            return None
    except (OSError, URLError, sqlite3.Error, ValueError, KeyError):
        return None
    statuses = dict(pairs)
    return statuses if len(statuses) == len(pairs) else None  # twins: MLflow's own client puts them right


def _of_file(path: str, experiment: str, sweep: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=ANSWER_SECONDS)) as database:
        return [(str(key), str(status)) for key, status in database.execute(_QUERY, (experiment, sweep))]


def _of_server(uri: str, experiment: str, sweep: str) -> list[tuple[str, str]]:
    found = _ask(f"{uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(experiment)}")["experiment"]
    if found["lifecycle_stage"] != "active" or "'" in sweep:
        return []
    search: dict[str, Any] = {
        "experiment_ids": [found["experiment_id"]],
        "filter": f"tags.`{SWEEP_TAG}` = '{sweep}'",
        "max_results": _PAGE,
    }
    pairs = []
    while True:
        page = _ask(f"{uri}/api/2.0/mlflow/runs/search", search)
        for run in page.get("runs", []):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            pairs.append((tags.get(KEY_TAG, PARENT), run["info"]["status"]))
        if not page.get("next_page_token"):
            return pairs
        search["page_token"] = page["next_page_token"]


def _ask(url: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if content is None else json.dumps(content).encode()
    request = Request(url, data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=ANSWER_SECONDS) as answer:
        return json.loads(answer.read())
