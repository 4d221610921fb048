"""`ray up` and `ray submit` with cluster.yaml, on two machines of one's own instead of AWS: real SSH, real files."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto.server import ThreadedMotoServer
from pyarrow import fs

from analysis.table import read_table
from ray_ssl.storage import Storage
from tests.mlflow_server import free_port
from tests.sweeps.command import ROOT
from tests.sweeps.ssh_machines import IPS, Machines, missing_programs

SWEEP = [
    "--method", "vicreg", "--depths", "1", "--widths", "4", "6", "--num-images", "200",
    "--num-test-images", "60", "--epochs", "2", "--global-batch-size", "50", "--num-checkpoints", "2",
    "--projector-width", "16", "--embedding-dim", "8", "--metrics", "linear_probe", "--name", "swept",
]  # fmt: skip
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
WAIT_FOR_BOTH = """
import time, ray
ray.init(address="auto", log_to_driver=False)
while len(ray.nodes()) < 2: time.sleep(0.2)
print("two nodes")
"""


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    """A folder on an S3 server on this machine."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS_KEYS.items():
            patch.setenv(name, value)
        fs.S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True).create_dir(
            "bucket"
        )
        yield f"s3://bucket/ray_ssl?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    missing = missing_programs()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install openssh-client openssh-server rsync")
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_ROOT_USER_ACTION": "ignore"}
    machines = Machines(
        Path(tempfile.mkdtemp(prefix="ray_ssl_", dir="/tmp")), AWS_KEYS | offline | {"OMP_NUM_THREADS": "1"}
    )
    yield machines
    machines.close()


def on_own_machines(description: dict[str, Any], machines: Machines, storage: str) -> dict[str, Any]:
    """cluster.yaml as the README changes it for machines one owns; two nodes on one machine need ports of their own."""
    changed = {k: v for k, v in description.items() if k not in ("docker", "available_node_types", "head_node_type")}
    gcs, dashboard = str(free_port()), str(free_port())

    def start(command: str, ip: str, resources: str) -> str:
        moved = command.replace("6379", gcs).replace("8265", dashboard)
        return moved.replace("ray start", f"ray start --node-ip-address={ip} {resources}")

    head, worker = (description[f"{kind}_start_ray_commands"] for kind in ("head", "worker"))
    assert head[0] == worker[0] == "ray stop"  # it would stop every Ray on this machine
    return changed | {
        "cluster_name": machines.folder.name,
        "provider": {"type": "local", "head_ip": IPS[0], "worker_ips": [IPS[1]]},
        "auth": machines.auth,
        "min_workers": 1,
        "max_workers": 1,
        "file_mounts": description["file_mounts"] | {"~/project": str(ROOT)},
        "setup_commands": [c.replace("s3://EDIT-BUCKET/ray_ssl", storage) for c in description["setup_commands"]],
        "head_start_ray_commands": [start(c, IPS[0], "--num-cpus=0") for c in head[1:]],
        "worker_start_ray_commands": [start(c, IPS[1], "--num-cpus=2") for c in worker[1:]],
    }


def test_a_cluster_comes_up_and_a_submitted_sweep_ends_in_the_given_storage(machines: Machines, storage: str) -> None:
    file = machines.folder / "cluster.yaml"
    file.write_text(
        yaml.safe_dump(on_own_machines(yaml.safe_load((ROOT / "cluster.yaml").read_text()), machines, storage))
    )
    script = str(ROOT / "sweeps" / "depth_width.py")
    machines.ray("up", "-y", "--no-config-cache", str(file))
    (machines.homes[IPS[0]] / "wait.py").write_text(WAIT_FOR_BOTH)
    assert "two nodes" in machines.ray("exec", "--no-config-cache", str(file), "python ~/wait.py")
    for home in machines.homes.values():  # the worker's came by way of the head
        assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
        assert (home / "project" / "sweeps" / "depth_width.py").is_file()
        assert not (home / "project" / ".git").exists()

    out = machines.ray("submit", "--no-config-cache", str(file), script, "--", *SWEEP)
    assert "no --dataset given" not in out
    assert "trials: 2 new" in out and "measured 4/4" in out
    sweep = Storage.at(storage).child("swept")
    table = read_table(sweep.filesystem, sweep.path("measurements"))
    assert set(table.width) == {4, 6} and set(table.epoch) >= {0, 2}
    assert (machines.homes[IPS[0]] / "results" / "mlflow.db").is_file()

    out = machines.ray("submit", "--no-config-cache", str(file), script, "--", *SWEEP)
    assert "trials: 2 done" in out
    assert "nothing to do: every trial is trained and measured" in out

    # As on AWS before a worker has come: the study is chosen, and not begun, since this cluster has no GPUs really.
    (machines.homes[IPS[0]] / "ray_bootstrap_config.yaml").write_text((ROOT / "cluster.yaml").read_text())
    with pytest.raises(AssertionError) as refused:
        machines.ray("submit", "--no-config-cache", str(file), script, "--", "--name", "a/b")
    assert "no --dataset given, and the cluster has 16 GPU(s): the study --dataset cifar100" in str(refused.value)
    assert "--name is one folder" in str(refused.value)
