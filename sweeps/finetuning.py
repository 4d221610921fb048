"""What the fine-tuning sweep does besides a grid: starts from another sweep's checkpoints, their probes, the choice."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ray_ssl.errors import EXIT_DONE, UserError
from sweeps.cli import Extension, Request, folder_name

if TYPE_CHECKING:
    from ray_ssl.checkpoints import Checkpoint
    from ray_ssl.config import PretrainConfig
    from ray_ssl.data import Dataset
    from ray_ssl.ledger import Ledger, Trial

PROTOCOL: Final[dict[str, Any]] = {
    "method.name": "supervised",
    "optimiser.weight_decay": 0.0,
    "training.epochs": 20,
    "training.global_batch_size": 64,
    "training.warmup_fraction": 0.0,
    "training.num_checkpoints": 21,  # every epoch may be the one that is chosen
    "training.knn_every": 5,
    # Crops and mirrored images alone, as the authors' code does on BREEDS.
    "views.jitter_probability": 0.0,
    "views.grey_probability": 0.0,
    "data.validation_fraction": 0.1,
}
"""Of arXiv 2202.10054 (SGD with momentum 0.9, no weight decay, batch 64, cosine, 20 epochs), for `Sweep.study`."""
METRICS: Final = ("ncc",)
"""Measured of every layer where no --metrics are given: there are many checkpoints."""

Origin = tuple[str, int]
"""Key of a pretrained trial, and the epoch."""


def _add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("starts", "Checkpoints that are fine-tuned, all of one network.")
    group.add_argument(
        "--from",
        dest="from",
        metavar="SWEEP_FOLDER",
        help="sweep that pretrained encoders: a path, s3://... or gs://...",
    )
    group.add_argument("--from-methods", nargs="+", metavar="NAME", help="of its trials those of these methods")
    group.add_argument(
        "--from-trials", nargs="+", metavar="KEY", help="of its trials these (default: all that are done)"
    )
    group.add_argument(
        "--from-epochs", nargs="+", type=int, metavar="N",
        help="their checkpoints after these epochs, nearest ones that there are (default: the last)",
    )  # fmt: skip


def _run(request: Request) -> int:
    """Makes the starts that are not there yet, runs the sweep, prints what was chosen; returns the exit code."""
    from analysis.command import read_measurements
    from analysis.finetuned_outcomes import choose, lines
    from ray_ssl.ledger import Ledger
    from ray_ssl.storage import Storage
    from sweeps.run import run

    pretrained = _pretrained(request)
    request = _of_network(request, [trial.config for trial, _ in pretrained])
    ledger = Ledger(Storage.at(request.storage).child(request.name))
    ledger.is_of(request.shared)
    starts, unmade = _starts(request, ledger, pretrained)
    grid = replace(request.grid, axes={"method.start": tuple(starts), **request.grid.axes})
    request = replace(request, grid=grid, base=grid.config({}), stage=_Stage(request), unmade=unmade)
    code = run(request)
    if code == EXIT_DONE and not request.dry_run:
        wanted = {config.to_json() for config in grid.configs()}
        trials = [trial for trial in ledger.known_trials() if trial.config.to_json() in wanted]
        for line in lines(choose(trials, read_measurements(ledger.sweep))):
            print(line, flush=True)
    return code


def _pretrained(request: Request) -> list[tuple[Trial, int]]:
    """Returns the trials and epochs that are fine-tuned, in the order of method, seed and epoch.

    Raises:
        UserError: No such sweep, trial, method or checkpoint.
    """
    from ray_ssl.checkpoints import saved_epochs
    from ray_ssl.ledger import Ledger, TrialState, no_sweep
    from ray_ssl.storage import Storage

    given = request.given
    if not given["from"]:
        raise UserError("--from SWEEP_FOLDER is missing: a sweep that pretrained encoders, e.g. of sweeps/method.py")
    if request.search != "grid":
        raise UserError("sweeps/finetune.py chooses among all its learning rates: it takes no --search")
    source = Ledger(Storage.at(given["from"]))
    if not source.known_trials():
        raise no_sweep(source.sweep, given["from"])
    trials = {t.key: t for t in source.known_trials() if source.state(t.key) is TrialState.DONE}
    methods, keys = given["from_methods"], given["from_trials"]
    for key in keys or []:
        if key not in trials:
            raise UserError(f"--from-trials: no finished trial {key!r} in {source.sweep.uri}")
    chosen = [
        trial
        for trial in trials.values()
        if (keys is None or trial.key in keys) and (methods is None or trial.config.method.name in methods)
    ]
    if not chosen:
        known = ", ".join(sorted({trial.config.method.name for trial in trials.values()})) or "none"
        raise UserError(f"no finished trial of these in {source.sweep.uri}: it has finished trials of {known}")
    if any(getattr(trial.config.method, "start", "") for trial in chosen):
        raise UserError(f"{source.sweep.uri} is itself a sweep of fine-tuning: give --from the one that pretrained")
    found: dict[Origin, tuple[Trial, int]] = {}
    for trial in sorted(chosen, key=lambda t: (t.config.method.name, t.config.seed, t.key)):
        saved = saved_epochs(source.trial(trial.key))
        if not saved:
            raise UserError(f"{trial.name} ({trial.key}) in {source.sweep.uri} has no checkpoint")
        for epoch in given["from_epochs"] or saved[-1:]:
            if epoch < 0:
                raise UserError(f"--from-epochs are 0 (untrained) or more, given {epoch}")
            nearest = min(saved, key=lambda other: abs(other - epoch))
            if nearest != epoch:
                print(f"note: {trial.name} has no checkpoint of epoch {epoch}: {nearest} is taken", flush=True)
            found[trial.key, nearest] = trial, nearest
    return list(found.values())


def _of_network(request: Request, configs: Sequence[PretrainConfig]) -> Request:
    """The request with the starts' network and, where none were given, their images.

    Raises:
        UserError: Starts of several networks.
    """
    first = configs[0]
    for other in configs:
        if (other.backbone, other.data.image_size) != (first.backbone, first.data.image_size):
            raise UserError(
                f"the checkpoints are of different networks, {first.backbone} and {other.backbone}: choose those of "
                "one by --from-trials"
            )
    grid = request.grid
    network = {f"backbone.{name}": value for name, value in first.backbone.model_dump().items()}
    images = {f"data.{name}": value for name, value in first.data.model_dump().items() if "dataset" not in name}
    images = {} if "data.dataset" in grid.given else images | {"data.dataset": first.data.dataset}
    images.pop("data.validation_fraction", None)
    given = images | grid.given | network | {"data.image_size": first.data.image_size}
    if given.get("data.shift"):
        given["training.train_domains"] = "source"
    grid = replace(grid, given=given)
    base, shared = grid.config({}), grid.shared()
    name = request.given["name"] or folder_name(request.sweep.name, base, shared)
    metrics = request.metrics if request.metrics is not None or request.levels is not None else list(METRICS)
    return replace(request, grid=grid, base=base, shared=shared, name=name, metrics=metrics, demo=False)


def _starts(
    request: Request, ledger: Ledger, pretrained: Sequence[tuple[Trial, int]]
) -> tuple[list[str], tuple[str, ...]]:
    """Returns the option `start` of each, made where it is not there yet, and those of a dry run, which makes none.

    Raises:
        UserError: The images do not allow what fine-tuning measures.
    """
    from analysis.finetuned import measured_sets
    from ray_ssl import interrupts
    from ray_ssl.finetune import read_starts, start_option, write_start
    from ray_ssl.lease import Lease
    from sweeps.data_card import DataCard
    from sweeps.room import load_once

    card = DataCard.recall(ledger.sweep, request.base.data)
    fingerprint = load_once(request.base.data).fingerprint if card is None else card.fingerprint
    known = {_origin(start): start_option(start) for start in read_starts(ledger.sweep) if _is_on(start, fingerprint)}
    unmade: tuple[str, ...] = ()
    lacking = [one for one in pretrained if (one[0].key, one[1]) not in known]
    if lacking:
        dataset = load_once(request.base.data)
        measured_sets(dataset)
        if request.dry_run:
            made = _foretold(lacking)
            known, unmade = known | made, tuple(made.values())
        else:
            ledger.open(request.sweep.question.strip(), request.shared)
            with interrupts.orderly(), Lease(ledger.sweep) as lease:
                for trial, epoch in lacking:
                    start = _probed(request, trial, epoch, dataset)
                    write_start(lease.storage, start)
                    known[trial.key, epoch] = start_option(start)
                    probe = start.card["probe"]
                    print(
                        f"linear probe of {start_option(start)}: C {probe['c']:.2g}, validation accuracy "
                        f"{probe['validation_accuracy']:.1%}", flush=True,
                    )  # fmt: skip
    options = [known[trial.key, epoch] for trial, epoch in pretrained]
    for line in same_names(options):
        print(line, flush=True)
    return options, unmade


def _foretold(lacking: Sequence[tuple[Trial, int]]) -> dict[Origin, str]:
    """Prints which starts a dry run does not make; returns options that stand for them, with numbers for hashes."""
    from ray_ssl.finetune import start_name

    names = [start_name(trial.config, epoch) for trial, epoch in lacking]
    width = max(map(len, names))
    print(f"{len(lacking)} checkpoint(s) to probe first; trials from them wait for their probe, and their keys (below "
          f"{'-' * 16}) are known after it:")  # fmt: skip
    for name, (trial, epoch) in zip(names, lacking, strict=True):
        print(f"  {name:{width}}  {trial.name}, trial {trial.key}, epoch {epoch}", flush=True)
    return {(trial.key, epoch): f"{name}@{number:016x}"
            for number, (name, (trial, epoch)) in enumerate(zip(names, lacking, strict=True))}  # fmt: skip


def same_names(options: Sequence[str]) -> list[str]:
    """Returns a warning for every name that several starts have: the table holds their names alone."""
    counts = Counter(option.partition("@")[0] for option in options)
    return [
        f"warning: {count} checkpoints are called {name}, and differ in what the table does not say: figures, claims "
        "and the report leave them out; choose one by --from-trials"
        for name, count in counts.items()
        if count > 1
    ]


def _origin(start: Checkpoint) -> Origin:
    return start.card["probe"]["trial_key"], start.card["epoch"]


def _is_on(start: Checkpoint, fingerprint: str) -> bool:
    return start.card["probe"]["data_fingerprint"] == fingerprint


def _probed(request: Request, trial: Trial, epoch: int, dataset: Dataset) -> Checkpoint:
    """Returns a start with the linear probe that is best on the validation images.

    Raises:
        UserError: The checkpoint is damaged, or the images do not allow a probe.
    """
    import torch

    from analysis.blas import limit_threads
    from analysis.finetuned import VALIDATION, features_of_sets, labels_of, measured_sets
    from analysis.probe_path import probe_path
    from ray_ssl.checkpoints import checkpoint_folder
    from ray_ssl.encoder_file import read_checkpoint
    from ray_ssl.finetune import make_start
    from ray_ssl.storage import Storage
    from ray_ssl.targets import labels_to_learn, rows_to_train

    limit_threads(request.machine.cpus_per_worker)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = read_checkpoint(Storage.at(request.given["from"]).child(trial.key).child(checkpoint_folder(epoch)).uri)
    rows = rows_to_train(request.base, dataset)
    train: Any = dataset.train if rows is None else dataset.train.take(rows)
    sets = {"train": train, VALIDATION: measured_sets(dataset)[VALIDATION]}
    features = {name: layers[-1] for name, layers in features_of_sets(checkpoint, sets, device).items()}
    labels = {name: labels_of(images, request.base) for name, images in sets.items()}
    num_classes = labels_to_learn(request.base, dataset)[1]
    probe = probe_path(
        (features["train"], labels["train"]), (features[VALIDATION], labels[VALIDATION]), num_classes
    )  # fmt: skip
    best = max(one["validation_accuracy"] for one in probe.path)
    about = {"c": probe.c, "path": probe.path, "validation_accuracy": best,
             "trial_key": trial.key, "data_fingerprint": dataset.fingerprint}  # fmt: skip
    return make_start(checkpoint, probe.head, about)


@dataclass(frozen=True)
class _Stage:
    """Measures what fine-tuning did, besides the metrics of the ordinary analysis; see `sweeps.cli.Stage`."""

    request: Request

    def is_done(self, ledger: Ledger) -> bool:
        from analysis.finetuning_stage import lacking_epochs

        return not lacking_epochs(ledger)

    def run(self, ledger: Ledger, dataset: Dataset) -> list[str]:
        from analysis.finetuning_stage import lacking_epochs, measure_finetuning
        from ray_ssl import interrupts

        num_trials, errors = len(lacking_epochs(ledger)), []
        print(f"measuring heads and moved features of {num_trials} trial(s)", flush=True)
        machine, settings = self.request.machine, self.request.settings
        for outcome in measure_finetuning(ledger, dataset, settings, machine.cpus_per_worker):
            interrupts.check()
            if outcome.error:
                errors.append(f"fine-tuning of {outcome.key}: {outcome.error}")
        return errors


FINETUNING: Final = Extension(
    _add_flags, lambda given, base: {}, _run, ("supervised",), ("method.start", "method.name", "method.target")
)
"""For `Sweep.extension`."""
