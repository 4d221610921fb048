"""Checkpoints: saved so that a torn or altered one is always noticed before it is parsed.

A checkpoint is a folder. Its `manifest.json` holds the sha256 of every other file and is itself sealed; it is
written last and is the commit. Two kinds lie in a trial's folder:

* `checkpoints/epoch-000010/`: for analysis, kept for ever: `model.safetensors`, `card.json`;
* `state/step-0000000390/`: for going on, the newest two are kept: also `optimiser.safetensors`.

There is no pickle anywhere: tensors are safetensors, everything else is JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ray_ssl.storage import Storage, seal, unseal

Tensors = dict[str, Tensor]

MODEL, OPTIMISER, CARD, MANIFEST = "model.safetensors", "optimiser.safetensors", "card.json", "manifest.json"
SET_ASIDE = "damaged"
NUM_STATES_KEPT = 2


class DamagedCheckpointError(Exception):
    """A checkpoint is torn, altered or incomplete."""


@dataclass(frozen=True)
class Checkpoint:
    """What is saved.

    Attributes:
        card: JSON values: configuration, epoch, normalisation and so on; whatever the reader needs.
        model: The method's parameters and buffers by name; the backbone's start with "backbone.".
        optimiser: The optimiser's tensors by name; empty in a checkpoint for analysis.
    """

    card: dict[str, Any]
    model: Tensors
    optimiser: Tensors = field(default_factory=dict)


def save_checkpoint(trial: Storage, folder: str, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint; it counts once its manifest is there.

    Raises:
        OSError: As `Storage.write`; what was written so far does not count as a checkpoint.
    """
    files = {MODEL: save(_plain(checkpoint.model))}
    if checkpoint.optimiser:
        files[OPTIMISER] = save(_plain(checkpoint.optimiser))
    files[CARD] = json.dumps(checkpoint.card, sort_keys=True).encode()  # the last but the manifest: see is_unfinished
    trial.delete(f"{folder}/{MANIFEST}")  # a damaged predecessor of the same name must not vouch for these files
    for name, content in files.items():
        trial.write(f"{folder}/{name}", content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    trial.write(f"{folder}/{MANIFEST}", seal({"sha256": digests}))


def load_checkpoint(trial: Storage, folder: str) -> Checkpoint:
    """Returns a checkpoint after checking every byte of it.

    Raises:
        DamagedCheckpointError: A file is missing, torn or altered, or is no checkpoint's though its sum is right.
    """
    files = _read_checked(trial, folder)
    try:
        optimiser = load(files[OPTIMISER]) if OPTIMISER in files else {}
        return Checkpoint(json.loads(files[CARD]), load(files[MODEL]), optimiser)
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise DamagedCheckpointError(f"{folder} holds no checkpoint ({type(error).__name__})") from None


def checkpoint_folder(epoch: int) -> str:
    """Returns the folder of the checkpoint for analysis after `epoch` epochs."""
    return f"checkpoints/epoch-{epoch:06d}"


def saved_epochs(trial: Storage) -> list[int]:
    """Returns the epochs with a committed checkpoint for analysis, ascending."""
    folders = trial.names("checkpoints")
    return [
        int(name.removeprefix("epoch-"))
        for name in folders
        if name.startswith("epoch-") and trial.exists(f"checkpoints/{name}/{MANIFEST}")
    ]


def save_state(trial: Storage, step: int, checkpoint: Checkpoint) -> None:
    """Saves what is needed to go on after `step` steps, and deletes all but the newest two states."""
    save_checkpoint(trial, f"state/step-{step:010d}", checkpoint)
    _delete_older_states(trial)


def _delete_older_states(trial: Storage) -> None:
    for name in _states(trial)[:-NUM_STATES_KEPT]:
        trial.delete_folder(f"state/{name}")


def load_newest_state(trial: Storage, warn: Callable[[str], None]) -> Checkpoint | None:
    """Returns the newest undamaged state, or None where there is none.

    A damaged one is set aside (moved out of the way, under `damaged/`), of which `warn` is told, and the one before
    it is used. One whose writing was killed is deleted, and so are those that whoever was killed did not come to.
    """
    found, damages = None, []
    for name in reversed(_states(trial)):
        folder = f"state/{name}"
        if is_unfinished(trial.names(folder)):
            trial.delete_folder(folder)
            continue
        try:
            found = load_checkpoint(trial, folder)
            break
        except DamagedCheckpointError as error:
            set_aside(trial, folder)
            damages.append(str(error))
    if damages:
        start = "goes on from the state before it" if found else "trains again from the start"
        warn(f"{'; '.join(damages)}: set aside in {trial.address(SET_ASIDE)}; the trial {start}")
    if found:
        _delete_older_states(trial)
    return found


def is_unfinished(names: Collection[str]) -> bool:
    """Returns whether the writing of a state with these files was killed; one that lost its manifest is not."""
    return MANIFEST not in names and not {MODEL, OPTIMISER, CARD} <= set(names)


def delete_states(trial: Storage) -> None:
    """Deletes what a finished trial no longer needs."""
    trial.delete_folder("state")


def set_aside(trial: Storage, folder: str) -> None:
    """Moves a damaged checkpoint to `damaged/`, so that it is never tried again but can be looked at."""
    target = f"{SET_ASIDE}/{folder}"
    for name in trial.names(folder):
        trial.write(f"{target}/{name}", trial.read(f"{folder}/{name}"))
    trial.delete_folder(folder)


def newest_state(trial: Storage) -> tuple[str, dict[str, Any]] | None:
    """Returns the name and the card of the newest training state that has a whole card, or None; changes nothing."""
    for name in reversed(_states(trial)):
        try:
            return name, json.loads(_read_checked(trial, f"state/{name}", only=CARD)[CARD])
        except DamagedCheckpointError:
            continue
    return None


def _read_checked(trial: Storage, folder: str, only: str = "") -> dict[str, bytes]:
    """The files of a checkpoint, or one of them, every byte checked. Raises DamagedCheckpointError."""
    manifest = unseal(_read(trial, f"{folder}/{MANIFEST}"))
    if manifest is None:
        raise DamagedCheckpointError(f"{folder}/{MANIFEST} is torn or altered")
    names = [only] if only else list(manifest["sha256"])
    files = {name: _read(trial, f"{folder}/{name}") for name in names}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
            raise DamagedCheckpointError(f"{folder}/{name} is torn or altered")
    return files


def _read(trial: Storage, name: str) -> bytes:
    try:
        return trial.read(name)
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{name} is missing") from None


def _states(trial: Storage) -> list[str]:
    return [name for name in trial.names("state") if name.startswith("step-")]


def _plain(tensors: Tensors) -> Tensors:
    """Contiguous CPU copies, none sharing memory with another, as safetensors wants them."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
