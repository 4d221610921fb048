"""Peak memory of the analysis, for few and for many checkpoints.

The sum of the proportional memory of all analysis processes, sampled while Ray Data runs.

    RAY_SSL_CIFAR100=FOLDER python -m tests.benchmarks.memory
"""

import tempfile
import threading
from pathlib import Path

import psutil
import torch

from analysis.command import quiet
from analysis.pipeline import analyse
from analysis.settings import AnalysisSettings
from analysis.survey import missing_work
from ray_ssl.checkpoints import Checkpoint, checkpoint_folder, save_checkpoint
from ray_ssl.cluster import MachineOptions, ray_session
from ray_ssl.config import PretrainConfig
from ray_ssl.data import load_dataset
from ray_ssl.ledger import Ledger, make_trials
from ray_ssl.storage import Storage
from ray_ssl.trainer import Trainer
from tests.benchmarks.images import source

COUNTS = (4, 32)


class Peak(threading.Thread):
    """Samples the memory of the actors' processes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.ended = 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            total = 0
            for process in psutil.process_iter(["name"]):
                try:
                    if "Measurer" in process.name() or "MapWorker" in process.name():
                        total += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it ended meanwhile
            self.peak = max(self.peak, total)


def main() -> None:
    quiet()
    data = {"dataset": source()} | ({} if source() == "shapes" else {"num_images": 10_000})
    config = PretrainConfig.from_dict(
        {"data": data, "backbone": {"name": "res_lh", "depth": 5, "width": 64},
         "method": {"name": "vicreg", "projector_width": 64, "embedding_dim": 64}}
    )  # fmt: skip
    dataset = load_dataset(config.data)
    trainer = Trainer(config, dataset, torch.device("cpu"))
    trial = make_trials([config], dataset.fingerprint)[0]
    peaks = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            ledger = Ledger(Storage.at(Path(name) / "sweep"))
            ledger.write_config(trial)
            for epoch in range(count):
                checkpoint = Checkpoint(trainer.card(epoch), trainer.method.state_dict())
                save_checkpoint(ledger.trial(trial.key), checkpoint_folder(epoch), checkpoint)
            sampler = Peak()
            sampler.start()
            with ray_session(MachineOptions(address="local"), dataset.train.images.nbytes, nested_train=False):
                settings = AnalysisSettings()
                outcomes = list(analyse(ledger, missing_work(ledger, [trial], settings), dataset, settings))
            sampler.ended.set()
            assert len(outcomes) == count
            assert not any(o.error for o in outcomes)
        peaks.append(sampler.peak)
        print(f"{count} checkpoints of RES-5-64, {len(dataset.train)} training images: {sampler.peak / 2**20:.0f} MiB")
    print(f"{peaks[1] / peaks[0]:.2f} x the memory for {COUNTS[1] // COUNTS[0]} x the checkpoints")


if __name__ == "__main__":
    main()
