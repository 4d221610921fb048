"""The ledger: states, torn records, and one driver at a time."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from ray_ssl.config import PretrainConfig, replace
from ray_ssl.errors import UserError
from ray_ssl.follower import Follower
from ray_ssl.lease import LEASE, Lease
from ray_ssl.ledger import DONE, FAILED, STOPPED, Ledger, TrialState, make_trials, names_apart
from ray_ssl.storage import Storage, seal
from ray_ssl.sweep.overview import show


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Storage.at(tmp_path / "sweep"))


def test_equal_configurations_are_one_trial() -> None:
    base = PretrainConfig()
    trials = make_trials([base, replace(base, {"seed": 1}), base], "data")
    assert [t.config.seed for t in trials] == [0, 1]
    assert trials[0].name == "vicreg 5-64 seed 0"


def test_trials_of_one_name_are_told_apart_by_their_options() -> None:
    rate = "optimiser.learning_rate"
    changes = [{rate: 0.1}, {rate: 0.2}, {rate: 0.1, "training.epochs": 7}, {"seed": 1}]
    names = names_apart(make_trials([replace(PretrainConfig(), {"training.epochs": 5} | c) for c in changes], "data"))
    assert list(names.values()) == [
        "vicreg 5-64 seed 0 (learning_rate 0.1, epochs 5)",
        "vicreg 5-64 seed 0 (learning_rate 0.2, epochs 5)",
        "vicreg 5-64 seed 0 (learning_rate 0.1, epochs 7)",
        "vicreg 5-64 seed 1",
    ]


def test_fine_tuned_trials_are_named_by_protocol_and_told_apart_by_rate(ledger: Ledger) -> None:
    start = {"name": "supervised", "start": "vicreg-5-64-s1-e9@0123456789abcdef"}
    changes = [{"method.head": head, "method.batch_norm": norm, "optimiser.learning_rate": rate}
               for head in ("fresh", "probe") for norm in ("train", "frozen") for rate in (0.1, 0.2)]  # fmt: skip
    trials = make_trials([replace(PretrainConfig.from_dict({"method": start}), change) for change in changes], "data")
    names = names_apart(trials)
    wanted = [f"{way} 5-64 seed 0 from vicreg-5-64-s1-e9{norm} (learning_rate {rate})"
              for way in ("FT (fresh head)", "LP-FT (probed head)") for norm in ("", " (frozen BatchNorm)")
              for rate in (0.1, 0.2)]  # fmt: skip
    assert list(names.values()) == wanted
    assert {trial.config.method_name for trial in trials} == {
        f"supervised from vicreg-5-64-s1-e9{head}{norm}"
        for head in ("", " (probed head)") for norm in ("", " (frozen BatchNorm)")
    }  # fmt: skip
    for trial in trials:
        ledger.write_config(trial)
    shown = [line for line in show([ledger]).splitlines() if "seed 0" in line]
    assert [name for line, name in zip(shown, sorted(wanted), strict=True) if name in line] == sorted(wanted)


def test_mlflow_tells_the_trials_of_a_sweep_apart(ledger: Ledger) -> None:
    rates = [replace(PretrainConfig(), {"optimiser.learning_rate": rate}) for rate in (0.1, 0.2)]
    known, new = make_trials(rates, "data")
    ledger.write_config(known)
    for wanted, names in (
        ([known, new], [f"vicreg 5-64 seed 0 (learning_rate {rate})" for rate in (0.1, 0.2)]),
        ([known], ["vicreg 5-64 seed 0", "vicreg 5-64 seed 0"]),  # the second was suggested later
    ):
        tracker = MagicMock()
        follower = Follower(tracker, ledger, wanted)
        follower.started(known)
        follower.started(new)
        assert [call.args[0].name for call in tracker.begin.call_args_list] == names
        assert [call.args[0].key for call in tracker.begin.call_args_list] == [known.key, new.key]


def test_the_states_of_a_trial(ledger: Ledger) -> None:
    trial = make_trials([PretrainConfig()], "data")[0]
    assert ledger.state(trial.key) is TrialState.NEW
    ledger.write_config(trial)
    assert ledger.state(trial.key) is TrialState.NEW
    ledger.trial(trial.key).write("state/step-0000000001/manifest.json", b"")
    assert ledger.state(trial.key) is TrialState.RESUMABLE
    ledger.end(trial.key, FAILED, {"reason": "x"})
    assert ledger.state(trial.key) is TrialState.FAILED
    ledger.retry(trial.key)
    assert ledger.state(trial.key) is TrialState.RESUMABLE
    ledger.end(trial.key, STOPPED, {"reason": "x", "last": {}})
    assert ledger.state(trial.key) is TrialState.STOPPED
    ledger.retry(trial.key)
    assert ledger.state(trial.key) is TrialState.RESUMABLE
    ledger.end(trial.key, DONE, {"history": [{"epoch": 1.0}]})
    assert ledger.state(trial.key) is TrialState.DONE
    assert ledger.known_trials() == [trial]


def test_a_torn_record_counts_as_missing(ledger: Ledger) -> None:
    content = seal({"history": []})
    for cut in range(0, len(content), 7):
        ledger.trial("0" * 16).write(DONE, content[:cut])
        assert ledger.state("0" * 16) is TrialState.NEW


def test_another_study_in_the_same_folder_is_refused(ledger: Ledger) -> None:
    ledger.open("why", {"training.epochs": 3, "seed": 0})
    ledger.open("why", {"training.epochs": 3, "seed": 0})
    with pytest.raises(UserError, match=r"made with training.epochs = 3, now 4; give another --name"):
        ledger.open("why", {"training.epochs": 4, "seed": 0})


def test_a_second_driver_is_refused_and_told_who_holds_the_lease(ledger: Ledger) -> None:
    with Lease(ledger.sweep) as lease:
        assert lease.is_held()
        with pytest.raises(UserError, match=rf"process {os.getpid()} on {socket.gethostname()}, for \d+ s"):
            Lease(ledger.sweep).__enter__()
    assert not ledger.sweep.exists(LEASE)


def test_the_lease_of_a_dead_process_is_taken_over(ledger: Ledger) -> None:
    code = "import sys; from ray_ssl.lease import *; Lease(Storage(sys.argv[1])).__enter__(); print('x', flush=True)"
    code += "; import time; time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, ledger.sweep.uri], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(UserError, match=f"process {holder.pid}"):
        Lease(ledger.sweep).__enter__()
    holder.kill()
    holder.wait()
    with Lease(ledger.sweep) as lease:
        assert lease.is_held()


@pytest.mark.parametrize("content", [b"", b"torn", seal({"host": "elsewhere", "pid": 1, "boot": "", "token": "t",
                                                         "since": 0, "renewed": time.time() - 3600})])  # fmt: skip
def test_a_torn_or_stale_lease_is_taken_over(ledger: Ledger, content: bytes) -> None:
    ledger.sweep.write(LEASE, content)
    with Lease(ledger.sweep) as lease:
        assert lease.is_held()


def test_a_living_lease_of_another_host_is_respected(ledger: Ledger) -> None:
    now = time.time()
    holder = {"host": "elsewhere", "pid": 1, "boot": "", "token": "t", "since": now - 5, "renewed": now}
    ledger.sweep.write(LEASE, seal(holder))
    with pytest.raises(UserError, match="process 1 on elsewhere, for 5 s"):
        Lease(ledger.sweep).__enter__()


def test_of_racing_drivers_exactly_one_wins(ledger: Ledger) -> None:
    code = """
import sys, time
from ray_ssl.errors import UserError
from ray_ssl.lease import Lease
from ray_ssl.storage import Storage
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    with Lease(Storage(sys.argv[1])):
        print("won", flush=True); sys.stdin.read()
except UserError:
    print("lost", flush=True)
"""
    ledger.sweep.write(LEASE, b"torn")  # they race for the take-over too
    start = str(time.time() + 4)
    command = [sys.executable, "-c", code, ledger.sweep.uri, start]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [racer.stdout.readline().strip() for racer in racers if racer.stdout]  # the winner holds on meanwhile
    for racer in racers:
        racer.communicate()
    assert sorted(said) == ["lost", "lost", "lost", "won"]
