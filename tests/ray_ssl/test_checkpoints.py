"""Checkpoints and storage: whatever byte is lost or altered, it is noticed before anything is parsed."""

import hashlib
from pathlib import Path

import pytest
import torch

from ray_ssl.checkpoints import (
    CARD,
    MANIFEST,
    MODEL,
    OPTIMISER,
    Checkpoint,
    DamagedCheckpointError,
    load_checkpoint,
    load_newest_state,
    save_checkpoint,
    save_state,
    saved_epochs,
)
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage, seal, unseal


def checkpoint(epoch: int = 1) -> Checkpoint:
    generator = torch.Generator().manual_seed(epoch)
    weights = torch.randn(4, 3, 2, 2, generator=generator).to(memory_format=torch.channels_last)
    return Checkpoint(
        {"epoch": epoch}, {"backbone.w": weights, "n": torch.tensor(epoch)}, {"backbone.w/m": weights * 2}
    )


def equal(a: Checkpoint, b: Checkpoint) -> bool:
    same = [torch.equal(a.model[k], b.model[k]) for k in b.model] + [
        torch.equal(a.optimiser[k], b.optimiser[k]) for k in b.optimiser
    ]
    return a.card == b.card and a.model.keys() == b.model.keys() and all(same)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    trial = Storage.at(tmp_path)
    save_checkpoint(trial, "checkpoints/epoch-000001", checkpoint())
    assert equal(load_checkpoint(trial, "checkpoints/epoch-000001"), checkpoint())
    assert saved_epochs(trial) == [1]


@pytest.mark.parametrize("name", [MODEL, OPTIMISER, CARD, MANIFEST])
@pytest.mark.parametrize(
    "damage", ["delete", "empty", "half", "all but one byte", "first bit", "middle bit", "last bit"]
)
def test_a_damaged_state_is_set_aside_and_the_one_before_it_used(tmp_path: Path, name: str, damage: str) -> None:
    trial = Storage.at(tmp_path)
    save_state(trial, 10, checkpoint(1))
    save_state(trial, 20, checkpoint(2))
    file = tmp_path / "state/step-0000000020" / name
    content = bytearray(file.read_bytes())
    cut = {"empty": 0, "half": len(content) // 2, "all but one byte": len(content) - 1}
    if damage == "delete":
        file.unlink()
    elif damage in cut:
        file.write_bytes(content[: cut[damage]])
    else:
        position = {"first bit": 0, "middle bit": len(content) // 2, "last bit": len(content) - 1}[damage]
        content[position] ^= 1
        file.write_bytes(content)
    said: list[str] = []
    found = load_newest_state(trial, said.append)
    assert found is not None
    assert equal(found, checkpoint(1))
    assert not (tmp_path / "state/step-0000000020").exists()
    assert (tmp_path / "damaged/state/step-0000000020").exists()
    assert len(said) == 1 and "state/step-0000000020" in said[0]
    assert said[0].endswith(f"set aside in {tmp_path}/damaged; the trial goes on from the state before it")


@pytest.mark.parametrize("names", [[], [MODEL], [MODEL, OPTIMISER]])
def test_a_state_whose_writing_was_killed_is_deleted_without_a_word(tmp_path: Path, names: list[str]) -> None:
    trial = Storage.at(tmp_path)
    save_state(trial, 10, checkpoint(1))
    (tmp_path / "state/step-0000000020").mkdir()
    for name in names:
        trial.write(f"state/step-0000000020/{name}", b"torn")
    assert load_newest_state(trial, pytest.fail) is not None
    assert trial.names("state") == ["step-0000000010"] and not trial.exists("damaged")


def test_what_is_no_checkpoint_though_its_sums_are_right_is_damaged(tmp_path: Path) -> None:
    trial = Storage.at(tmp_path)
    save_state(trial, 10, checkpoint(1))
    for name, content in ((MODEL, b"\x80\x04N."), (CARD, b"\xff"), (OPTIMISER, b"")):
        save_state(trial, 20, checkpoint(2))
        trial.write(f"state/step-0000000020/{name}", content)
        manifest = unseal(trial.read(f"state/step-0000000020/{MANIFEST}"))
        assert manifest is not None
        manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
        trial.write_sealed(f"state/step-0000000020/{MANIFEST}", manifest)
        said: list[str] = []
        found = load_newest_state(trial, said.append)
        assert found is not None and equal(found, checkpoint(1))
        assert len(said) == 1 and "step-0000000020 holds no checkpoint" in said[0]


def test_only_the_newest_two_states_are_kept(tmp_path: Path) -> None:
    trial = Storage.at(tmp_path)
    for step in (5, 10, 15, 20):
        save_state(trial, step, checkpoint(step))
    assert trial.names("state") == ["step-0000000015", "step-0000000020"]
    assert load_newest_state(Storage.at(tmp_path / "nowhere"), print) is None


def test_a_checkpoint_without_its_manifest_does_not_count(tmp_path: Path) -> None:
    trial = Storage.at(tmp_path)
    save_checkpoint(trial, "checkpoints/epoch-000001", checkpoint())
    trial.delete(f"checkpoints/epoch-000001/{MANIFEST}")
    assert saved_epochs(trial) == []
    with pytest.raises(DamagedCheckpointError, match="missing"):
        load_checkpoint(trial, "checkpoints/epoch-000001")


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    save_state(Storage.at(tmp_path), 1, checkpoint())
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {MODEL, OPTIMISER, CARD, MANIFEST}


def test_a_seal_breaks_at_any_byte() -> None:
    content = seal({"a": [1, 2.5, "x"], "b": None})
    assert unseal(content) == {"a": [1, 2.5, "x"], "b": None}
    for position in range(len(content)):
        altered = bytearray(content)
        altered[position] ^= 4
        assert unseal(bytes(altered)) is None
        assert unseal(content[:position]) is None


def test_create_writes_once(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    assert storage.create("a/lease", b"first")
    assert not storage.create("a/lease", b"second")
    assert storage.read("a/lease") == b"first"
    assert storage.names("a") == ["lease"]


def test_an_unusable_storage_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a local folder"):
        Storage.at("gopher://x/y")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to storage"):
        Storage.at(tmp_path / "file" / "below").check_writable()
    Storage.at(tmp_path / "new" / "below").check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # nothing is left
