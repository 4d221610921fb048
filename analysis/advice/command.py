"""`python -m analysis advise CHECKPOINT --source SET --target SET`: which layer and which head to use in a target.

Measured of every layer, from labelled images of the source and images of the target whose labels are not looked at:
heads on held-out images of the source, and how far the domains lie apart. Their accuracy in the target is estimated.
A rule of a few thresholds (`analysis.advice.rule`) makes of it a layer, and LP, PFA, FT or LP-FT. Nothing is written.

Source and target are what --dataset and --shift say, as everywhere, by default those of the checkpoint; --source SET
and --target SET say the same. The target may be a folder of images or Parquet without labels. Where it has labels they
choose images and nothing else: subsets (--num-images) are balanced over classes, classes that one set alone has are
left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from textwrap import wrap
from typing import Final

import torch

from analysis.advice.domains import Domains, domains_of
from analysis.advice.estimates import why_unusable
from analysis.advice.evidence import cases_of, finished
from analysis.advice.facts import LOGISTIC, LayerFacts, measure_layers
from analysis.advice.rule import FT, LP, LP_FT, PFA, Advice, recommend
from analysis.advice.scores import FINE_TUNING, TRANSFER, Case, better, lines, option_of
from analysis.flags import each_once, read_data_config
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.base import TARGET
from ray_ssl.data_config import DataConfig
from ray_ssl.encoder_file import read_checkpoint
from ray_ssl.errors import EXIT_DONE, UserError
from ray_ssl.shift import parse_shift

_HOW = {
    LP: "linear probing: logistic regression on frozen features",
    PFA: "preconditioned feature averaging on frozen features",
    FT: "fine-tuning of the whole network",
    LP_FT: "linear probing, then fine-tuning of the whole network from that head",
}


_COLUMNS = (
    "layer", "LP source", "~target", "PFA", "source", "~target", "agree", "domain acc.", "distance", "rank"
)  # fmt: skip
"""See `analysis.advice.facts`; "source" is accuracy on validation images, "~target" the expected accuracy."""


_WIDTH: Final = 100
"""Letters of a line of reasons, beside its indent of 10."""

FEW_IMAGES = 50
"""With fewer validation images the standard error of an accuracy of one half is above 7 points."""


_EXPLAINED = (
    "source    MEASURED accuracy of the head on validation images of the source",
    "~target   its accuracy in the target, ESTIMATED from its confidence, no label was seen: often too high, most "
    "under large shifts; unusable: it decides nothing",
    "agree     share of target images that LP and PFA give the same class (and of validation images of the source)",
    "domain    accuracy of a classifier that tells the domains apart, 50% where it cannot; distance: of the domains' "
    "means, relative to the classes'",
)
"""What the columns of `_COLUMNS` are, where their names do not say it."""

_JUDGED_BY = {LP: (FINE_TUNING, TRANSFER), PFA: (FINE_TUNING, TRANSFER), FT: (FINE_TUNING,), LP_FT: (FINE_TUNING,)}
"""Kinds of evidence that say something of an advice."""


def run(flags: argparse.Namespace) -> int:
    """Prints the advice, why, and how often it was right; returns the exit code.

    Raises:
        UserError: No checkpoint, no shift, images or labels that cannot be used, evidence that is none.
    """
    checkpoint = read_checkpoint(flags.checkpoint)
    evidence = each_once(flags.evidence)
    for uri in evidence:
        finished(uri)
    try:
        config = data_config(checkpoint, flags.data)
        dataset = _with_shift(config)
    except UserError as error:
        raise UserError(_as_typed(str(error), flags)) from None
    images = domains_of(dataset, flags.level, config.data_seed)
    layers = measure_layers(checkpoint, images, "cuda" if torch.cuda.is_available() else "cpu")
    cases: list[Case] = []
    for uri in evidence:
        cases += cases_of(uri, lambda text: print(f"measuring {text}", flush=True))
    own = trial_key(PretrainConfig.from_dict(checkpoint.card["config"]), checkpoint.card["data_fingerprint"])
    matched = _indented("", [dataset.note] if parse_shift(config.shift).target else [])
    about = [*_about(dataset, images), *matched, *_few(len(images.validation))]
    for line in (
        *about,
        *_table(layers),
        *_EXPLAINED,
        *_say(layers, images.num_classes, cases, own),
        *lines(cases, own),
    ):
        print(line)
    if not cases:
        print("evidence  none given: how often such advice is right is not known here; --evidence SWEEP_FOLDER ... of "
              "finished sweeps/finetune.py and sweeps/transfer.py tells")  # fmt: skip
    return EXIT_DONE


def _with_shift(config: DataConfig) -> Dataset:
    if not config.shift:
        raise UserError(
            "--shift says what the target is, e.g. --shift to:folder:PATH (or --target folder:PATH) or --shift blur:0.5"
        )
    return load_dataset(config)


def _as_typed(message: str, flags: argparse.Namespace) -> str:
    """Names the flags that were typed for others (`analysis.flags.advise_flags`)."""
    if flags.source:
        message = message.replace("--dataset", "--source", 1)
    if flags.target:
        message = message.replace("--shift to:", "--target ", 1).replace("--shift", "--target", 1)
    return message


def data_config(checkpoint: Checkpoint, given: dict[str, str]) -> DataConfig:
    """Returns the options of the images: those given, else the checkpoint's; all others at their defaults where a
    --dataset is given.

    Raises:
        UserError: An option that cannot be.
    """
    own = PretrainConfig.from_dict(checkpoint.card["config"]).data
    if given.get("image_size", str(own.image_size)) != str(own.image_size):
        raise UserError(f"--image-size is the checkpoint's, {own.image_size}, given {given['image_size']}")
    kept = {"image_size"} if "dataset" in given else set(DataConfig.model_fields)
    texts = {name: str(value) for name, value in own.model_dump().items() if name in kept and value is not None}
    return read_data_config(texts | given)


def _about(dataset: Dataset, images: Domains) -> list[str]:
    """Which images the advice is made of, and which are left."""
    num_tested = 0 if dataset.test.domain is None else int((dataset.test.domain == TARGET).sum())
    return [
        f"images    {dataset.name}: {len(images.train)} labelled and {len(images.validation)} validation images of the "
        f"source, {images.num_classes} classes; {len(images.target)} images of the target, labels unseen",
        f"          {num_tested} more images of the target are its test images, which advice does not use "
        "(--test-fraction, where a set has no test split of its own)",
    ]


def _few(num_images: int) -> list[str]:
    if num_images >= FEW_IMAGES:
        return []
    return [
        f"warning   {num_images} validation images of the source, {1 / num_images:.1%} of an accuracy each, are too "
        f"few: give at least {FEW_IMAGES}, by more images or a larger --validation-fraction"
    ]


def _table(layers: Sequence[LayerFacts]) -> list[str]:
    rows: list[Sequence[str]] = [_COLUMNS]
    for layer in _joined(layers):
        agree = f"{_percent(layer.agreement)} ({_percent(layer.source_agreement)})"
        rows.append((
            layer.name, *_accuracies(layer, LOGISTIC), f"t = {layer.best_pfa[-1]}", *_accuracies(layer, layer.best_pfa),
            agree, _percent(layer.domain_accuracy), f"{layer.domain_distance:.2f}", f"{layer.effective_rank:.1f}",
        ))  # fmt: skip
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]) for row in rows]


def _joined(layers: Sequence[LayerFacts]) -> list[LayerFacts]:
    """Joins layers of the same features, as the last block of a ResNet and its representation are."""
    found: list[LayerFacts] = []
    for layer in layers:
        if found and found[-1]._replace(name=layer.name) == layer:
            found[-1] = layer._replace(name=f"{found[-1].name} = {layer.name}")
        else:
            found.append(layer)
    return found


def _say(layers: Sequence[LayerFacts], num_classes: int, cases: Sequence[Case] = (), own: str = "") -> list[str]:
    """The advice, and that for a network that is to stay as it is where it is another; each with what contradicts it.

    Args:
        layers: The representation last.
        num_classes: Of the source.
        cases: The evidence.
        own: Key of the pretraining of the encoder that is advised on.
    """
    best, frozen = recommend(layers, num_classes), recommend(layers, num_classes, (LP, PFA))
    headline = f"{_words(best)}{_contradiction(best, cases, own)}"
    found = [*_indented("advice", [headline]), *_indented("why", (*best.reasons, *best.frozen))]
    if frozen.way == best.way:
        return found
    against = _contradiction(frozen, cases, own, (TRANSFER,))
    headline = f"if the network is not to be trained: {_words(frozen)}{against}"
    return [*found, *_indented("frozen", [headline, *frozen.frozen])]


def _contradiction(advice: Advice, cases: Sequence[Case], own: str, kinds: Sequence[str] = ()) -> str:
    """What the evidence says against advice, for its headline: "" where another choice was not better there."""
    doubted = ""
    for kind in kinds or _JUDGED_BY[advice.way]:
        ours = option_of(advice, kind)
        best = better(cases, kind, own)
        if best is None or best.option == ours:
            continue
        said = f": over {best.over} {best.name!r} was {100 * best.by:.1f} points better than such advice"
        if not best.doubt:
            return f"; the evidence below is AGAINST it{said}"
        doubted = doubted or f"; the evidence below is {best.doubt}{said}"
    return doubted


def _words(advice: Advice) -> str:
    power = f", t = {advice.head[-1]}" if advice.way == PFA else ""
    return f"{advice.way}, layer {advice.layer}: {_HOW[advice.way]}{power}"


def _indented(title: str, reasons: Sequence[str]) -> list[str]:
    """A paragraph each, indented where it goes on."""
    wrapped = [wrap(reason, _WIDTH, subsequent_indent="  ", break_long_words=False) for reason in reasons]
    found = [line for paragraph in wrapped for line in paragraph]
    return [f"{title if i == 0 else '':10}{line}" for i, line in enumerate(found)]


def _accuracies(layer: LayerFacts, head: str) -> tuple[str, str]:
    """In the source, measured, and in the target, an estimate that is marked as one, and where it is unusable."""
    facts = layer.heads[head]
    return _percent(facts.validation), f"~{_percent(facts.expected)}{' unusable' * bool(why_unusable(layer, head))}"


def _percent(share: float) -> str:
    return f"{share:.1%}"
