"""Targets of graded randomness: a trained teacher labels the images of a sweep."""

from __future__ import annotations

import torch

from ray_ssl import interrupts
from ray_ssl.data import Dataset
from ray_ssl.lease import Lease
from ray_ssl.ledger import Ledger, make_trials
from ray_ssl.storage import Storage
from ray_ssl.targets import Targets, attach_targets, read_targets, write_targets
from ray_ssl.teacher_targets import make_targets
from sweeps.cli import Request
from sweeps.room import load_once


def label(request: Request, teacher: Request, ledger: Ledger, levels: list[float]) -> Targets:
    """Lets the trained teacher label all images, writes the targets and returns them."""
    dataset: Dataset = load_once(request.base.data)
    teaching = Ledger(Storage.at(teacher.storage).child(teacher.name))
    trial = make_trials([teacher.base], dataset.fingerprint)[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(request.machine.cpus_per_worker)
    print(f"labelling {len(dataset.train)} + {len(dataset.test)} images by the teacher's checkpoints", flush=True)
    ledger.open(request.sweep.question.strip(), request.shared)
    with interrupts.orderly(), Lease(ledger.sweep) as lease:
        known = read_targets(ledger.sweep)
        attach_targets(dataset, known)  # refuses those of other images
        targets = make_targets(teaching, trial, dataset, levels, known, device)
        write_targets(lease.storage, targets)
    return targets
