"""The backbone of a checkpoint for use without this project: its weights, and a card that describes it.

    OUT/model.safetensors    the backbone's weights alone; ResNets and ViT carry torchvision's names
    OUT/card.json            see `encoder_card`
    OUT/res_lh_network.py    of RES-L-H, which torchvision lacks: its source, which needs torch alone

CHECKPOINT is a folder TRIAL_KEY/checkpoints/epoch-N of a sweep: a path, s3://... or gs://...
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save

from ray_ssl import interrupts
from ray_ssl.backbones.base import Backbone, PlainTorch, build_backbone
from ray_ssl.checkpoints import CARD, MANIFEST, MODEL, Checkpoint, DamagedCheckpointError, load_checkpoint
from ray_ssl.checksum import is_whole
from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.ledger import MEASUREMENTS
from ray_ssl.storage import Storage

PREFIX: Final = "backbone."
FORMAT: Final = 1
"""Version of the card."""


def export(checkpoint_uri: str, out: Path) -> str:
    """Writes the files of an encoder.

    Returns:
        Python that loads it, without this project: three lines, and comments.

    Raises:
        UserError: No such checkpoint, a torn or altered one, a backbone that plain torch cannot build, or `out` is
            not an empty folder.
        OSError: `out` cannot be written, or the checkpoint's storage not be read.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{str(out)!r} exists and is not an empty folder: give a new one")
    checkpoint = read_checkpoint(checkpoint_uri)
    config = PretrainConfig.from_dict(checkpoint.card["config"])
    backbone = build_backbone(config.backbone, config.data.image_size)
    weights = {k.removeprefix(PREFIX): v for k, v in checkpoint.model.items() if k.startswith(PREFIX)}
    backbone.load_state_dict(weights)
    card = encoder_card(checkpoint, backbone, Storage.at(checkpoint_uri).ancestor(3))
    plain = backbone.plain_torch()
    files = {
        MODEL: save(weights, metadata={"format": "pt"}),
        CARD: json.dumps(card, indent=1, allow_nan=False).encode(),
    }
    if plain.source:
        files[plain.source.name] = plain.source.read_bytes()
    _write_all(Storage.at(out), files)
    size = sum(p.numel() for p in backbone.parameters()) / 1e6
    return (
        f"# wrote {out / MODEL} ({size:.2f} M parameters), {', '.join(list(files)[1:])}\n"
        f"# images: [B, 3, {config.data.image_size}, {config.data.image_size}], RGB / 255, less the mean and over "
        f"the std of {CARD}\n" + "\n".join(loading_lines(plain, out.absolute()))
    )


def _write_all(out: Storage, files: dict[str, bytes]) -> None:
    """Writes all files or, where that fails or is interrupted, none: the same command then starts afresh."""
    with interrupts.orderly():
        try:
            for name, content in files.items():
                out.write(name, content)
        except BaseException:
            for name in files:
                out.delete(name)
            raise


def loading_lines(plain: PlainTorch, folder: Path) -> list[str]:
    """Returns three lines of Python, free of this project, after which `backbone` is the encoder in a folder."""
    imports = "import torch, torchvision; from safetensors.torch import load_file"
    if plain.source:
        imports = (
            f"import sys; from safetensors.torch import load_file; sys.path.insert(0, {str(folder)!r}); "
            f"from {plain.source.stem} import {plain.names}"
        )
    load = f"backbone.load_state_dict(load_file({str(folder / MODEL)!r})); backbone.eval()"
    return [imports, plain.build, load]


def read_checkpoint(uri: str) -> Checkpoint:
    """Returns a checkpoint by its own folder, every byte checked.

    Raises:
        UserError: It is not there, torn or altered.
    """
    storage = Storage.at(uri)
    around = storage.ancestor(1)
    if not storage.exists(MANIFEST):
        others = _committed(around) or [f"checkpoints/{name}" for name in _committed(storage.child("checkpoints"))]
        hint = f"there are {', '.join(others)}" if others else "give a folder TRIAL_KEY/checkpoints/epoch-N of a sweep"
        raise UserError(f"no checkpoint at {uri!r}, it has no {MANIFEST}: {hint}")
    try:
        return load_checkpoint(around, storage.name)
    except DamagedCheckpointError as error:
        raise UserError(f"damaged checkpoint: {around.uri}/{error}") from None


def encoder_card(checkpoint: Checkpoint, backbone: Backbone, sweep: Storage) -> dict[str, Any]:
    """Returns what a reader of the weights must know, as JSON values.

    "weight_names" is what gives the weights their names, a class or function of torchvision or the class in the file
    beside them; "loading" are lines of Python that load them inside their folder, and give the representation.
    "metrics" holds what the sweep's analysis measured of the last layer at this epoch, by "metric/level/split"
    (accuracies are fractions, None is undefined); it is empty where nothing was measured.
    """
    card = checkpoint.card
    config = PretrainConfig.from_dict(card["config"])
    plain = backbone.plain_torch()
    key = trial_key(config, card["data_fingerprint"])
    return {
        "format": FORMAT,
        "backbone": config.backbone.model_dump(mode="json"),
        "image_size": config.data.image_size,
        "num_features": backbone.num_features,
        "weight_names": plain.names,
        "loading": loading_lines(plain, Path()),
        "layer_names": card["layer_names"],
        "normalisation": card["normalisation"],
        "data": {"name": _data_name(config.data), "fingerprint": card["data_fingerprint"]},
        "method": config.method.model_dump(mode="json"),
        "epoch": card["epoch"],
        "seed": config.seed,
        "precision": card["precision"],
        "trial_key": key,
        "metrics": measured(sweep, key, card["epoch"], card["layer_names"][-1]),
    }


def measured(sweep: Storage, key: str, epoch: int, layer_name: str) -> dict[str, float | None]:
    """Returns the numbers of one layer of one checkpoint from the sweep's table; torn and altered parts are none."""
    found: dict[str, float | None] = {}
    for name in sweep.names(MEASUREMENTS):
        if not name.startswith(f"{key}-{epoch:06d}-"):
            continue
        content = sweep.read(f"{MEASUREMENTS}/{name}")
        for row in pq.read_table(pa.BufferReader(content)).to_pylist() if is_whole(content) else ():
            if row["layer_name"] == layer_name:
                value = row["value"] if math.isfinite(row["value"]) else None
                found[f"{row['metric']}/{row['level']}/{row['split']}"] = value
    return found


def _data_name(data: DataConfig) -> str:
    """The data set without the folders of this machine."""
    names = [f"{one.source}:{Path(one.path).name}" if one.path else one.source for one in data.sets()]
    return " to ".join(names) if len(names) > 1 else " ".join((*names, data.shift)).strip()


def _committed(checkpoints: Storage) -> list[str]:
    return [n for n in checkpoints.names() if n.startswith("epoch-") and checkpoints.exists(f"{n}/{MANIFEST}")]
