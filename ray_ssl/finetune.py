"""Fine-tuning: supervised training that starts from the weights of a stored checkpoint.

A start is kept beside the trials that begin from it, as a checkpoint of its own, so that a sweep needs no other one:

    SWEEP/starts/NAME@HASH/    model.safetensors: backbone.*, and head.weight, head.bias of a linear probe on them
                               card.json: what pretrained it, how its images are normalised, how the probe was chosen

A trial names its start NAME@HASH (option `start` of method "supervised"), so that its key holds the weights.
Full fine-tuning has a fresh head; LP-FT ("linear probing, then fine-tuning") begins with that of the probe, which makes
the trial's epoch 0 the linear probe itself. Everything else is a trial like any other.

Source: arXiv 2202.10054, and the authors' code where it says more: the fresh head is torch's default initialisation of
a linear layer, batch norms are trained or stay in evaluation mode, weights and biases of both kinds train.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from safetensors.torch import save
from torch import Tensor

from ray_ssl.checkpoints import Checkpoint, DamagedCheckpointError, load_checkpoint, save_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.base import Method
from ray_ssl.storage import Storage

STARTS: Final = "starts"
BACKBONE: Final = "backbone."
HEAD: Final = ("head.weight", "head.bias")


def make_start(pretrained: Checkpoint, head: tuple[Tensor, Tensor], probe: dict[str, Any]) -> Checkpoint:
    """Returns what fine-tuning starts from.

    Args:
        pretrained: A checkpoint for analysis, of any method.
        head: float32 weight [K, D] and bias [K] of a linear classifier of its raw (not standardised) features.
        probe: What is to be known of that classifier, as JSON values.
    """
    model = {name: tensor for name, tensor in pretrained.model.items() if name.startswith(BACKBONE)}
    about = {name: pretrained.card[name] for name in ("config", "epoch", "normalisation", "layer_names")}
    card = about | {"pretrained_on": pretrained.card["data_fingerprint"], "probe": probe}
    return Checkpoint(card, model | dict(zip(HEAD, head, strict=True)))


def start_option(start: Checkpoint) -> str:
    """Returns the method's option `start` that names it, e.g. "vicreg-5-32-s0-e100@0123456789abcdef"."""
    return f"{start_name(PretrainConfig.from_dict(start.card['config']), start.card['epoch'])}@{start_hash(start)}"


def start_name(config: PretrainConfig, epoch: int) -> str:
    """Returns what people call the start that a pretrained network of this epoch becomes: "vicreg-5-32-s0-e100".

    What tells pretrained networks of one method apart stands behind it, as in "swav_source-5-32-s0-e100", but for both
    domains, the usual ones.
    """
    shape = config.backbone.model_dump()
    network = f"{shape['depth']}-{shape['width']}" if {"depth", "width"} <= set(shape) else shape["name"]
    variant = config.variant.replace(" (source + target)", "").replace("source + target + ", "")
    method = config.method.name + re.sub(r"[^\w.]+", "_", variant.removesuffix(")"))
    return f"{method}-{network}-s{config.seed}-e{epoch}"


def start_hash(start: Checkpoint) -> str:
    """Returns 16 hex digits that identify weights, head and normalisation."""
    tensors = {name: tensor.contiguous() for name, tensor in sorted(start.model.items())}
    digest = hashlib.sha256(save(tensors))
    digest.update(repr([[float(x) for x in start.card["normalisation"][k]] for k in ("mean", "std")]).encode())
    return digest.hexdigest()[:16]


def write_start(sweep: Storage, start: Checkpoint) -> None:
    """Writes a start into a sweep's folder."""
    # Untrained networks of two methods have the same weights: their names tell them apart.
    save_checkpoint(sweep, f"{STARTS}/{start_option(start)}", start)


def read_starts(sweep: Storage) -> list[Checkpoint]:
    """Returns the whole starts in a sweep's folder; torn or altered ones count as missing."""
    starts = []
    for name in sweep.names(STARTS):
        try:
            starts.append(load_checkpoint(sweep, f"{STARTS}/{name}"))
        except DamagedCheckpointError:
            continue
    return starts


def start_of(config: PretrainConfig, sweep: Storage) -> Checkpoint | None:
    """Returns what a trial starts from, or None where that is its initial weights.

    Raises:
        UserError: The sweep's folder does not have it whole, or it is of another network.
    """
    option = getattr(config.method, "start", "")
    if not option:
        return None
    folder = f"{STARTS}/{option}"
    if not sweep.exists(folder):
        folder = f"{STARTS}/{option.partition('@')[2]}"  # sweeps begun before names were part of it
    try:
        start = load_checkpoint(sweep, folder)
    except DamagedCheckpointError as error:
        raise UserError(f"{sweep.uri} has no start {option}: sweeps/finetune.py makes starts ({error})") from None
    if start_option(start) != option:
        raise UserError(f"{sweep.uri} has no start {option}: what lies in its place is {start_option(start)}")
    theirs = PretrainConfig.from_dict(start.card["config"])
    mine, other = network_options(config), network_options(theirs)
    if mine != other:
        raise UserError(f"start {option} has {other}, the trial has {mine}")
    return start


def network_options(config: PretrainConfig) -> str:
    """Returns the options of a trial's network, e.g. "--backbone res_lh --depth 5 --width 32 --image-size 32"."""
    options = config.backbone.model_dump()
    values = {"backbone": options.pop("name"), **options, "image_size": config.data.image_size}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())


def begin_from(method: Method, start: Checkpoint) -> None:
    """Puts a start's weights into a method that has just been initialised, and the probe into its head if it asks so.

    Raises:
        UserError: The probe has other labels than the method's head.
    """
    wanted: Any = method.config
    weights = {name: tensor for name, tensor in start.model.items() if name.startswith(BACKBONE)}
    state = method.state_dict()
    if wanted.head == "probe":
        weights |= {name: start.model[name] for name in HEAD}
        if state[HEAD[0]].shape != weights[HEAD[0]].shape:
            raise UserError(
                f"the probe of start {wanted.start} tells {len(weights[HEAD[1]])} labels apart, "
                f"{wanted.target} has {len(state[HEAD[1]])}"
            )
    method.load_state_dict(state | weights)
