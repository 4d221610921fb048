"""What the fine-tuning sweep does besides a grid: starts from another sweep's checkpoints, their probes, the choice."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ray_ssl.errors import EXIT_DONE, UserError
from sweeps.cli import Extension, Request, folder_name

if TYPE_CHECKING:
    from ray_ssl.config import PretrainConfig
    from ray_ssl.data import Dataset
    from ray_ssl.ledger import Ledger, Trial
    from sweeps.options import Grid

log = logging.getLogger("analysis")

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
    from sweeps.starts import make_starts

    pretrained = _pretrained(request)
    request = _of_network(request, [trial.config for trial, _ in pretrained])
    ledger = Ledger(Storage.at(request.storage).child(request.name))
    ledger.is_of(request.shared)
    starts, unmade = make_starts(request, ledger, pretrained)
    grid = replace(request.grid, axes={"method.start": tuple(starts), **request.grid.axes})
    if line := _begun_untrained(grid.configs(), [epoch for _, epoch in pretrained]):
        print(line, flush=True)
    request = replace(request, grid=grid, base=grid.config({}), stage=_Stage(request), unmade=unmade)
    code = run(request)
    if code == EXIT_DONE and not request.dry_run:
        wanted = {config.to_json() for config in grid.configs()}
        trials = [trial for trial in ledger.known_trials() if trial.config.to_json() in wanted]
        for line in lines(choose(trials, read_measurements(ledger.sweep))):
            print(line, flush=True)
    return code


def _begun_untrained(configs: Sequence[PretrainConfig], epochs: Sequence[int]) -> str:
    """Returns a warning where LP-FT does not begin as its probe, "" where it does.

    A probe of an untrained encoder is fitted with running statistics as they are initialised, far from a batch's.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    from ray_ssl.backbones.base import build_backbone

    methods: list[Any] = [config.method for config in configs]
    if 0 not in epochs or all((one.head, one.batch_norm) != ("probe", "train") for one in methods):
        return ""
    network = build_backbone(configs[0].backbone, configs[0].data.image_size)
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return ""
    return (
        f"warning: {epochs.count(0)} of {len(epochs)} checkpoint(s) are untrained (epoch 0), and BatchNorm is in "
        "training: LP-FT does not begin as its probe there; --batch-norms frozen does"
    )


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
    left_out = {*source.unreadable_trials(), *(trial.key for trial in source.known_trials())} - {*trials}
    if left_out and keys is None:
        print(f"note: {len(left_out)} trial(s) that are not finished or whose config.json is damaged are left out: "
              f"{', '.join(sorted(left_out))}", flush=True)  # fmt: skip
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
    found: dict[tuple[str, int], tuple[Trial, int]] = {}
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
    from ray_ssl.finetune import network_options

    first = configs[0]
    for other in configs:
        if (other.backbone, other.data.image_size) != (first.backbone, first.data.image_size):
            raise UserError(
                f"the checkpoints are of different networks, {network_options(first)} and {network_options(other)}: "
                "choose those of one by --from-trials"
            )
    grid = request.grid
    _refuse_other_network(grid, first)
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


def _refuse_other_network(grid: Grid, pretrained: PretrainConfig) -> None:
    """Raises UserError where another network or size of images is asked for than that of the checkpoints."""
    theirs = {f"backbone.{name}": value for name, value in pretrained.backbone.model_dump().items()}
    theirs["data.image_size"] = pretrained.data.image_size
    for path, asked in grid.given.items():
        if path == "data.image_size" or path.startswith("backbone."):
            own = theirs.get(path)
            if asked != own:
                of_it = f"it is {own}" if path in theirs else f"{pretrained.backbone.name} has none"
                raise UserError(f"{grid.flags[path]} is that of the checkpoints, {of_it}; given {asked}: leave it out")


@dataclass(frozen=True)
class _Stage:
    """Measures what fine-tuning did, besides the metrics of the ordinary analysis; see `sweeps.cli.Stage`."""

    request: Request

    def is_done(self, ledger: Ledger) -> bool:
        from analysis.finetuning_stage import lacking_epochs

        return not lacking_epochs(ledger)

    def run(self, ledger: Ledger, dataset: Dataset) -> list[str]:
        from analysis.command import Counter
        from analysis.finetuning_stage import lacking_epochs, measure_finetuning
        from analysis.pipeline import warning_lines
        from ray_ssl import interrupts

        num_trials, errors = len(lacking_epochs(ledger)), []
        machine, settings = self.request.machine, self.request.settings
        told = []
        with Counter(f"measuring heads and moved features of {num_trials} trial(s)", num_trials) as counter:
            for outcome in measure_finetuning(ledger, dataset, settings, machine.cpus_per_worker):
                interrupts.check()
                counter.advance(not outcome.error)
                told.append(outcome)
                if outcome.error:
                    errors.append(f"fine-tuning of {outcome.key}: {outcome.error}")
        for line in warning_lines(told, {trial.key: trial.name for trial in ledger.known_trials()}):
            log.warning(line)
        return errors


FINETUNING: Final = Extension(
    _add_flags,
    lambda given, base: {},
    _run,
    ("supervised",),
    ("method.start", "method.name", "method.target", "training.train_domains"),
)
"""For `Sweep.extension`."""
