"""A sweep whose images stay in their files: Ray Data decodes them, and its trials are those of memory to the bit."""

from pathlib import Path

import numpy as np
import pytest

from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data import load_dataset
from ray_ssl.data.base import balanced_rows
from ray_ssl.errors import EXIT_BAD_INPUT
from ray_ssl.ledger import CONFIG, FAILED, Ledger
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from sweeps.cli import main
from sweeps.depth_width import SWEEP
from tests.ray_ssl.data.images import png, write_parquet
from tests.ray_ssl.test_pretrain import images
from tests.sweeps.streamed import STREAMED


def the_trial(folder: Path) -> tuple[Ledger, str]:
    ledger = Ledger(Storage.at(folder / "results/swept"))
    (key,) = (name for name in ledger.sweep.names() if ledger.sweep.exists(f"{name}/{CONFIG}"))
    return ledger, key


def test_what_ray_data_decodes_trains_to_the_bits_of_one_process(streamed: tuple[Path, str], tmp_path: Path) -> None:
    folder, out = streamed
    assert "300 training and 40 test images" in out
    assert "streamed: each worker of a trial holds at most 9.62 MB of them: a window of 60 images, and what is" in out
    ledger, key = the_trial(folder)
    record = ledger.record(key, CONFIG)
    assert record is not None
    config = PretrainConfig.from_dict(record["config"])
    alone = Storage.at(tmp_path / "alone")
    pretrain(config, load_dataset(config.data), alone, lambda metrics: None)
    a, b = (load_checkpoint(trial, checkpoint_folder(4)) for trial in (ledger.trial(key), alone))
    assert a.card["data_fingerprint"] == b.card["data_fingerprint"]
    assert all(bool((a.model[name] == b.model[name]).all()) for name in a.model)


def test_a_damaged_row_that_only_training_meets_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ray_ssl.data.streamed.NUM_SAMPLED", (1024, 512))  # as many as the online kNN looks at
    found = images(1100, 0)
    bad = int(np.setdiff1d(np.arange(1100), balanced_rows(found.fine, 1024, 0))[0])
    encoded: list[bytes | None] = [png(image[:8, :8]) for image in found.images]
    encoded[bad] = b"no image"
    names = {"label": list(found.fine_names)}
    for split, rows in (("train", slice(None)), ("test", slice(bad))):
        write_parquet(tmp_path / f"set/{split}.parquet", encoded[rows], names, 100, label=found.fine[rows])
    line = [*STREAMED, "--image-size", "8", "--dataset", f"parquet:{tmp_path}/set"]
    assert main(SWEEP, line) == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert f"set/train.parquet, row {bad}: not a readable image" in err
    assert len(err.splitlines()) == 1
    ledger, key = the_trial(tmp_path)
    assert ledger.record(key, FAILED) is not None
