"""Weights of networks that others trained: read without running what is in the file, and fitted by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from ray_ssl.backbones.base import Backbone
from ray_ssl.errors import UserError

Weights = dict[str, Tensor]

TORCH_SUFFIXES: Final = (".pt", ".pth", ".ckpt", ".tar", ".bin")
WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
"""Entries of a training checkpoint that hold its network; what lies beside them is not looked at."""
NUM_NAMED: Final = 3


def read_weights(path: Path) -> Weights:
    """Returns the tensors of a file by dotted name; of nested dictionaries the names are joined.

    Nothing in the file is run: it is safetensors, or it is read by torch's loader of plain tensors.

    Raises:
        UserError: No such file, not of a known kind, torn, or with Python objects inside.
    """
    if not path.is_file():
        raise UserError(f"{str(path)!r} is {'a folder: give the file in it' if path.is_dir() else 'no file'}")
    if path.suffix == ".safetensors":
        return _read(path, lambda: load_file(path))
    if path.suffix not in TORCH_SUFFIXES:
        raise UserError(f"{path.name} is of no known kind: give a file {', '.join(TORCH_SUFFIXES)} or .safetensors")
    content = _read(path, lambda: torch.load(path, map_location="cpu", weights_only=True))
    weights = dict(_flat(content)) if isinstance(content, Mapping) else {}
    if not weights:
        raise UserError(
            f"{path.name} holds no dictionary of tensors; write one by torch.save(model.state_dict(), PATH)"
        )
    return weights


def fit_weights(backbone: Backbone, weights: Weights, prefix: str, what: str) -> None:
    """Loads weights into a backbone, each by its name; those of a classifier are left out.

    Names may also begin with a number in place of the child module's name, as those of
    `nn.Sequential(*network.children())` do. Children without weights, which networks from elsewhere have in other
    places, do not count: the n-th number in the file is the n-th child with weights. Modules may be called by the
    backbone's `synonyms`.

    Args:
        backbone: Gets the weights.
        weights: As `read_weights` returns them.
        prefix: Only names that begin with it count, without it; its last dot may be left out.
        what: Begins the messages, e.g. "FILE does not fit BACKBONE".

    Raises:
        UserError: Weights are missing, unexpected or of another shape; it names the first three of each.
    """
    expected = backbone.state_dict()
    chosen = _chosen(backbone, weights, prefix)
    if not chosen:
        raise UserError(f"{what}: no name begins with {prefix!r}; there are {_some(weights)}")
    chosen = {name: tensor for name, tensor in chosen.items() if name.partition(".")[0] not in backbone.heads}
    missing = _missing(backbone, chosen)
    unexpected = [name for name in chosen if name not in expected]
    if missing or unexpected:
        problems = [f"{len(missing)} weights are missing ({_some(missing)})"] if missing else []
        problems += [f"{len(unexpected)} are unexpected ({_some(unexpected)})"] if unexpected else []
        raise UserError(f"{what}: {' and '.join(problems)}{_prefix_hint(backbone, weights) if missing else ''}")
    other = [name for name, tensor in chosen.items() if tensor.shape != expected[name].shape]
    if other:
        shapes = [f"{name} is {_shape(chosen[name])}, not {_shape(expected[name])}" for name in other[:NUM_NAMED]]
        raise UserError(
            f"{what}: {len(other)} weights have another shape ({', '.join(shapes)}): check the backbone's options"
        )
    backbone.load_state_dict(expected | chosen)


def _read(path: Path, read: Any) -> Any:
    try:
        return read()
    except Exception as error:  # whatever a torn or foreign file makes a reader raise: it is told, not repaired
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise UserError(
                f"{path.name} holds a Python object ({found[1]}), which could run code, so it is not read; write the "
                "weights alone by torch.save(model.state_dict(), PATH)"
            ) from None
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{path.name} cannot be read ({type(error).__name__}: {first[:120]})") from None


def _flat(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    wrapper = next((name for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
    if wrapper is not None:
        yield from _flat(content[wrapper], prefix)
        return
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")


def _chosen(backbone: Backbone, weights: Weights, prefix: str) -> Weights:
    """The weights below a prefix by the backbone's names."""
    if prefix and any(name.startswith(f"{prefix}.") for name in weights):
        prefix += "."
    below = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    numbers = sorted({first for name in below if (first := name.partition(".")[0]).isdecimal()}, key=int)
    children = [name for name, child in backbone.named_children() if child.state_dict()]
    names = {**backbone.synonyms, **dict(zip(numbers, children, strict=False))}
    return {_renamed(name, names): tensor for name, tensor in below.items()}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """The dotted name with its first part, and those that are no numbers, replaced where `names` has them."""
    first, *rest = name.split(".")
    return ".".join([names.get(first, first), *(part if part.isdecimal() else names.get(part, part) for part in rest)])


def _missing(backbone: Backbone, chosen: Weights) -> list[str]:
    # Counters of batches, which old files lack, are not used in evaluation.
    return [k for k in backbone.state_dict() if k not in chosen and not k.endswith("num_batches_tracked")]


def _prefix_hint(backbone: Backbone, weights: Weights) -> str:
    """The prefixes under which no weight would be missing."""
    prefixes = dict.fromkeys(name[: i + 1] for name in weights for i, letter in enumerate(name) if letter == ".")
    fitting = [p for p in prefixes if not _missing(backbone, _chosen(backbone, weights, p))]
    return f"; did you mean --key-prefix {' or '.join(fitting[:NUM_NAMED])}?" if fitting else ""


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:NUM_NAMED]) + (" ..." if len(names) > NUM_NAMED else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
