"""How often advice was right in finished sweeps, where accuracies in the target were measured.

Of every encoder of a sweep of sweeps/finetune.py or sweeps/transfer.py the advice is made anew, of its checkpoint and
images, as for a target without labels; the sweep's table then says how accurate what was advised is in the target, and
how accurate all else that was measured. Advice is right where it is at least as accurate as the best of these, "at
least" as in the claims: less than a point below. Advice is restricted to what was measured: LP, FT and LP-FT of the
representation in the one, LP and PFA of every layer in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import Any, Final, NamedTuple

from analysis.advice.domains import Domains, domains_of
from analysis.advice.facts import measure_layers
from analysis.advice.rule import FT, LP, LP_FT, PFA, recommend
from analysis.claims.base.contract import AT_LEAST
from analysis.command import read_measurements
from analysis.finetuned_choice import CASE, PROTOCOLS, TARGET, chosen, side_by_side
from analysis.metrics.transfer import HEADS
from analysis.needs import is_self_supervised
from ray_ssl.checkpoints import Checkpoint, DamagedCheckpointError, checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.data import load_dataset
from ray_ssl.errors import UserError
from ray_ssl.finetune import read_starts, start_option
from ray_ssl.ledger import Ledger, Trial, TrialState
from ray_ssl.storage import Storage

FINE_TUNING, TRANSFER = "fine-tuning", "transfer"

ADVICE: Final = "this advice"
FEWEST: Final = 3
"""Encoders that say something of others."""

_HEADS: Final = {f"{TARGET}_accuracy_{head}": head for head in HEADS}
_GIVE: Final = (
    "give sweeps of sweeps/finetune.py or sweeps/transfer.py that are measured, with a --shift and checkpoints"
)
_NOTHING: Final = f"--evidence: {{!r}} has no accuracies in a target: {_GIVE}"


class Case(NamedTuple):
    """A checkpoint of an encoder in a shift, and of fine-tuning with BatchNorm in training or frozen.

    Attributes:
        kind: `FINE_TUNING` or `TRANSFER`.
        name: Of the checkpoint, and of how it was fine-tuned where that is unusual.
        advised: Key of `accuracies`.
        accuracies: In the target, 0..1, by what was measured: "LP", "FT of representation", "pfa2 of block3" ...
        encoder: Key of the pretraining that it is of, "" where each is of another.
    """

    kind: str
    name: str
    advised: str
    accuracies: Mapping[str, float]
    encoder: str = ""

    def lost(self, option: str) -> float:
        """Returns how far an option is below the best, 0..1."""
        return max(self.accuracies.values()) - self.accuracies[option]


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
    begun = {getattr(trial.config.method, "start", ""): trial for trial in trials}
    same = [name for name in CASE if name != "seed"]
    advised: dict[str, str] = {}  # by start: how it was fine-tuned changes nothing
    for key, rows in _of_protocols(table).groupby(same, sort=True):
        at = dict(zip(same, key, strict=True))
        name = f"{at['network']}-s{at['pretrained_seed']}-e{at['pretrained_epoch']}"
        there = [(option, start) for option, start in starts.get(name, []) if option in begun]
        if len(there) != 1:
            continue  # which of several began it the table does not say
        (option, start), = there  # fmt: skip
        if option not in advised:
            config = begun[option].config
            say(f"{name} of {ledger.sweep.uri}")
            images = _images(config.to_json(), begun[option].key, config.trained_on)
            layers = measure_layers(start, images)[-1:]
            advised[option] = recommend(layers, images.num_classes, (LP, FT, LP_FT)).way
        accuracies = {shown: float(rows[column].mean()) for column, shown in PROTOCOLS.items()}
        pretrained = start.card["probe"]["trial_key"]
        yield Case(FINE_TUNING, f"{name} {at['setting']}".strip(), advised[option], accuracies, pretrained)


def _transferred(ledger: Ledger, trials: Sequence[Trial], table: Any, say: Callable[[str], None]) -> Iterator[Case]:
    rows = _of_heads(table)
    for trial in trials:
        mine = rows[rows["trial_key"] == trial.key]
        if mine.empty or not is_self_supervised(trial.config.method_name):
            continue
        epoch = int(mine["epoch"].max())
        try:
            checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(epoch))
        except DamagedCheckpointError:
            continue  # deleted to make space
        say(f"{trial.name} of {ledger.sweep.uri}")
        images = _images(trial.config.to_json(), trial.key, "class")
        advice = recommend(measure_layers(checkpoint, images), images.num_classes, (LP, PFA))
        last = mine[mine["epoch"] == epoch]
        names = last["metric"].map(_HEADS) + " of " + last["layer_name"]
        accuracies = dict(zip(names, last["value"].astype(float), strict=True))
        yield Case(TRANSFER, trial.name, f"{advice.head} of {advice.layer}", accuracies, trial.key)


@cache
def _images(config_json: str, key: str, level: str) -> Domains:
    """A trial's images, loaded once for trials that have the same."""
    config = PretrainConfig.from_json(config_json)
    dataset = load_dataset(config.data)
    if trial_key(config, dataset.fingerprint) != key:
        raise UserError(f"--evidence: {config.data.dataset!r} does not hold the images that trial {key} was trained on")
    return domains_of(dataset, level, config.data.data_seed)


def constants(kind: str) -> dict[str, str]:
    """Returns what one could always choose, by name: of the representation, an option of a case of this kind."""
    if kind == FINE_TUNING:
        return {f"always {way}": way for way in (LP, FT, LP_FT)}
    names = ("LP", *(f"PFA, t = {head[-1]}" for head in HEADS[1:]))
    return {f"always {name}": f"{head} of representation" for name, head in zip(names, HEADS, strict=True)}


class Better(NamedTuple):
    """A constant choice that lost less than the advice.

    Attributes:
        name: One of `constants`.
        option: What it chooses, a key of `Case.accuracies`.
        by: How much less it lost on average, 0..1.
        over: What says so, see `counted`.
        num_encoders: That say so.
    """

    name: str
    option: str
    by: float
    over: str
    num_encoders: int

    @property
    def doubt(self) -> str:
        """Why it tells nothing of other encoders, for people; "" where it does."""
        if self.num_encoders < FEWEST:
            return f"too few cases to tell, fewer than {FEWEST} encoders"
        return "" if self.by >= AT_LEAST else f"too close to tell, less than {100 * AT_LEAST:g} point"


def better(cases: Sequence[Case], kind: str, own: str = "") -> Better | None:
    """Returns the best constant choice of the cases of a kind, where it lost less than the advice.

    Args:
        cases: Of any kinds.
        kind: `FINE_TUNING` or `TRANSFER`.
        own: See `counted`.
    """
    mine = [case for case in cases if case.kind == kind]
    means = _mean_losses(mine, constants(kind))
    least = min(means, key=lambda name: means[name], default="")
    ours = fmean(case.lost(case.advised) for case in mine) if mine else 0.0
    if not least or means[least] >= ours:
        return None
    return Better(least, constants(kind)[least], ours - means[least], counted(mine, own), num_encoders(mine))


def _mean_losses(cases: Sequence[Case], options: Mapping[str, str]) -> dict[str, float]:
    """Of the constant choices that were measured of all cases, by name."""
    there = {name: option for name, option in options.items() if all(option in case.accuracies for case in cases)}
    return {name: fmean(case.lost(option) for case in cases) for name, option in there.items()} if cases else {}


def num_encoders(cases: Sequence[Case]) -> int:
    """Returns how many encoders cases are of."""
    return len({case.encoder or number for number, case in enumerate(cases)})


def counted(cases: Sequence[Case], own: str = "") -> str:
    """Returns how many encoders cases are of, how many cases these are where they are more, and whether `own` is one.

    Args:
        cases: Of one kind.
        own: Key of the pretraining of the encoder that is advised on.
    """
    number = num_encoders(cases)
    of_cases = "" if number == len(cases) else f"{len(cases)} cases (checkpoint, shift, BatchNorm mode) of "
    one_is = "" if number == 1 else "one of them "
    itself = f", {one_is}the very encoder that is advised on," if own and own in {c.encoder for c in cases} else ""
    return f"{of_cases}{number} encoder(s){itself}"


def lines(cases: Sequence[Case], own: str = "") -> Iterator[str]:
    """Yields how often the advice was right and how much it lost, against always choosing one; in lines.

    Args:
        cases: The evidence.
        own: See `counted`.
    """
    for kind in (FINE_TUNING, TRANSFER):
        mine = [case for case in cases if case.kind == kind]
        if not mine:
            continue
        yield (f"evidence  {counted(mine, own)} of sweeps on {kind}; right: less than {100 * AT_LEAST:g} point below "
               "the best")  # fmt: skip
        rows: dict[str, list[float]] = {ADVICE: [case.lost(case.advised) for case in mine]}
        for name, option in constants(kind).items():
            rows[name] = [case.lost(option) for case in mine if option in case.accuracies]
        rows = {name: lost for name, lost in rows.items() if lost}
        for name, lost in rows.items():
            right = sum(one < AT_LEAST for one in lost)
            yield (f"          {name:17} right {right} of {len(lost)} ({right / len(lost):.0%}), "
                   f"{100 * fmean(lost):.1f} points below the best")  # fmt: skip
        yield _against_constants(mine, kind)


def _against_constants(cases: Sequence[Case], kind: str) -> str:
    """What the encoders of a kind say of the advice; a constant is compared that was measured of all of them."""
    if (best := better(cases, kind)) is not None:
        doubt = f": {best.doubt}" if best.doubt else ""
        return f"          there, {best.name!r} would have been better than this advice{doubt}"
    options = constants(kind)
    means = _mean_losses(cases, options)
    same = [name for name in means if all(case.advised == options[name] for case in cases)]
    if same:
        return f"          there, this advice was {same[0]!r}: that measuring beats that is not shown"
    if means:
        return "          there, this advice lost no more than the best constant choice"
    return "          no constant choice was measured of all of them"
