"""How often advice was right in finished sweeps, where accuracies in the target were measured.

Of every encoder of a sweep of sweeps/finetune.py or sweeps/transfer.py the advice is made anew, of its checkpoint and
images, as for a target without labels; the sweep's table then says how accurate what was advised is in the target, and
how accurate all else that was measured. Advice is right where it is at least as accurate as the best of these, "at
least" as in the claims: less than a point below.

Of a sweep on fine-tuning it is the advice as it is given, of LP, PFA, FT and LP-FT. Its table has LP, FT and LP-FT of
the representation; heads on every layer of the start are taken from it too, or measured as by `--metrics transfer`.
Where no checkpoint is left to measure the domains of, the case is not scored, and counted as such. Of a sweep on
transfer, where nothing is fine-tuned, it is the advice for a network that is not to be trained: LP or PFA of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch

from analysis.advice.domains import Domains, domains_of
from analysis.advice.facts import measure_layers
from analysis.advice.rule import LP, PFA, recommend
from analysis.advice.scores import FINE_TUNING, TRANSFER, Case, option_of
from analysis.command import read_measurements
from analysis.finetuned_choice import CASE, PROTOCOLS, TARGET, chosen, side_by_side
from analysis.images import measured_images
from analysis.measure import measure_checkpoint
from analysis.metrics.transfer import HEADS
from analysis.needs import is_self_supervised
from analysis.settings import AnalysisSettings
from analysis.table import LayerMeasurement
from analysis.tasks import DOMAINS, task_name
from ray_ssl.checkpoints import Checkpoint, DamagedCheckpointError, checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.errors import UserError
from ray_ssl.finetune import read_starts, start_option
from ray_ssl.ledger import Ledger, Trial, TrialState
from ray_ssl.storage import Storage

_HEADS: Final = {f"{TARGET}_accuracy_{head}": head for head in HEADS}
_GIVE: Final = (
    "give sweeps of sweeps/finetune.py or sweeps/transfer.py that are measured, with a --shift and checkpoints"
)
_NOTHING: Final = f"--evidence: {{!r}} has no accuracies in a target: {_GIVE}"


def finished(uri: str) -> tuple[Ledger, list[Trial], Any]:
    """Returns a sweep, its finished trials and its table.

    Raises:
        UserError: It has none, or no accuracies in a target.
    """
    ledger = Ledger(Storage.at(uri))
    trials = [trial for trial in ledger.known_trials() if ledger.state(trial.key) is TrialState.DONE]
    if ledger.all_trials() and not ledger.known_trials():
        raise UserError(f"--evidence: {uri!r} is of trainings on an exact graph (sweeps/graph.py): {_GIVE}")
    if not trials:
        raise UserError(f"--evidence: {uri!r} has no finished trial: {_GIVE}")
    table: Any = read_measurements(ledger.sweep)
    if _of_heads(table).empty and _of_protocols(table).empty:
        raise UserError(_NOTHING.format(uri))
    return ledger, trials, table


def _of_heads(table: Any) -> Any:
    """Accuracies in the target of heads on frozen features, in rows."""
    rows = table[table["metric"].isin(list(_HEADS)) & (table["split"] == "test") & (table["level"] == "class")]
    return rows[rows["value"].notna()]


def _of_protocols(table: Any) -> Any:
    """Accuracies in the target of LP, FT and LP-FT, a case a row."""
    return side_by_side(chosen(table), TARGET).dropna(subset=list(PROTOCOLS))


def cases_of(uri: str, say: Callable[[str], None] = lambda line: None) -> list[Case]:
    """Returns the cases of a sweep.

    Args:
        uri: Its folder.
        say: Called with what is being measured.

    Raises:
        UserError: No sweep, no case in it, or its images are not those it was trained on.
    """
    ledger, trials, table = finished(uri)
    found = [*_fine_tuned(ledger, trials, table, say), *_transferred(ledger, trials, table, say)]
    if not found:
        raise UserError(_NOTHING.format(uri))
    return found


def _fine_tuned(ledger: Ledger, trials: Sequence[Trial], table: Any, say: Callable[[str], None]) -> Iterator[Case]:
    starts: dict[str, list[tuple[str, Checkpoint]]] = {}
    for start in read_starts(ledger.sweep):
        option = start_option(start)
        starts.setdefault(option.partition("@")[0], []).append((option, start))
    begun: dict[str, list[Trial]] = {}
    for trial in trials:
        begun.setdefault(getattr(trial.config.method, "start", ""), []).append(trial)
    same = [name for name in CASE if name != "seed"]
    known: dict[str, tuple[str, Mapping[str, float]]] = {}  # by start: how it was fine-tuned changes nothing
    for key, rows in _of_protocols(table).groupby(same, sort=True):
        at = dict(zip(same, key, strict=True))
        name = f"{at['network']}-s{at['pretrained_seed']}-e{at['pretrained_epoch']}"
        shown = f"{name} {at['setting']}".strip()
        accuracies = {way: float(rows[column].mean()) for column, way in PROTOCOLS.items()}
        there = [(option, start) for option, start in starts.get(name, []) if option in begun]
        if len(there) != 1:
            yield Case(FINE_TUNING, shown, "", accuracies)  # which of several began it the table does not say
            continue
        (option, start), = there  # fmt: skip
        if option not in known:
            config = begun[option][0].config
            say(f"{name} of {ledger.sweep.uri} ({len(known) + 1} of {len(begun)})")
            about = config.to_json(), begun[option][0].key
            images = _images(*about, config.trained_on)
            advice = recommend(measure_layers(start, images), images.num_classes)
            heads = {}
            if config.trained_on == "class":
                heads = _at_start(table, begun[option]) or _heads_of(start, _dataset(*about))
            known[option] = option_of(advice, FINE_TUNING), heads
        advised, heads = known[option]
        pretraining, untrained = start.card["probe"]["trial_key"], at["pretrained_epoch"] == 0
        yield Case(FINE_TUNING, shown, advised, {**accuracies, **heads}, pretraining, untrained)


def _at_start(table: Any, trials: Sequence[Trial]) -> dict[str, float]:
    """Accuracies of heads on the frozen start of fine-tuned trials, which all have the same network at epoch 0."""
    rows = _of_heads(table)
    return _by_head(rows[rows["trial_key"].isin([trial.key for trial in trials]) & (rows["epoch"] == 0)])


def _heads_of(start: Checkpoint, dataset: Dataset) -> dict[str, float]:
    """The same, measured now."""
    task = task_name("transfer", DOMAINS)
    images = measured_images(dataset, AnalysisSettings(), [task])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[LayerMeasurement] = measure_checkpoint(start, images, [task], device)[task]
    return {
        f"{_HEADS[found.metric]} of {row.layer_name}": found.value
        for row in rows
        for found in [row.measurement]
        if found.metric in _HEADS and found.split == "test" and found.level == "class"
    }


def _by_head(rows: Any) -> dict[str, float]:
    """Accuracies in the target by head and layer, as keys of `Case.accuracies`."""
    names = rows["metric"].map(_HEADS) + " of " + rows["layer_name"]
    return dict(zip(names, rows["value"].astype(float), strict=True))


def _transferred(ledger: Ledger, trials: Sequence[Trial], table: Any, say: Callable[[str], None]) -> Iterator[Case]:
    rows = _of_heads(table)
    keys = set(rows["trial_key"])
    trials = [one for one in trials if one.key in keys and is_self_supervised(one.config.method_name)]
    for number, trial in enumerate(trials, start=1):
        mine = rows[rows["trial_key"] == trial.key]
        epoch = int(mine["epoch"].max())
        accuracies = _by_head(mine[mine["epoch"] == epoch])
        try:
            checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(epoch))
        except DamagedCheckpointError:
            yield Case(TRANSFER, trial.name, "", accuracies, trial.key)  # deleted to make space
            continue
        say(f"{trial.name} of {ledger.sweep.uri} ({number} of {len(trials)})")
        images = _images(trial.config.to_json(), trial.key, "class")
        advice = recommend(measure_layers(checkpoint, images), images.num_classes, (LP, PFA))
        yield Case(TRANSFER, trial.name, option_of(advice, TRANSFER), accuracies, trial.key)


@cache
def _dataset(config_json: str, key: str) -> Dataset:
    """A trial's images, loaded once for trials that have the same."""
    config = PretrainConfig.from_json(config_json)
    dataset = load_dataset(config.data)
    if trial_key(config, dataset.fingerprint) != key:
        raise UserError(f"--evidence: {config.data.dataset!r} does not hold the images that trial {key} was trained on")
    return dataset


@cache
def _images(config_json: str, key: str, level: str) -> Domains:
    """What advice is made of, of a trial's images."""
    return domains_of(_dataset(config_json, key), level, PretrainConfig.from_json(config_json).data.data_seed)
