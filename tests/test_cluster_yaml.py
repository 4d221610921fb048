"""cluster.yaml is what Ray takes, keeps the world out, and its autoscaler starts the nodes that it promises."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.resource_demand_scheduler import get_nodes_for
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException

from ray_ssl.capacity import capacity, promised_nodes, warn_of_absent_machines
from ray_ssl.cluster import MachineOptions
from ray_ssl.node_choice import prefer_available

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()
BOOT_MINUTES = 15
TRIAL: dict[str, Any] = {"CPU": 1, "GPU": 1}


@pytest.fixture
def description() -> dict[str, Any]:
    return prepare_config(yaml.safe_load(TEXT))


def test_ray_takes_it_and_refuses_a_typo(description: dict[str, Any]) -> None:
    validate_config(description)
    description["idle_timeout_minuts"] = description.pop("idle_timeout_minutes")
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(description)


def test_its_ray_is_the_projects(description: dict[str, Any]) -> None:
    version = description["docker"]["image"].partition(":")[2].partition("-")[0]
    assert f'"ray[default,tune,train]>={version.rpartition(".")[0]},' in (ROOT / "pyproject.toml").read_text()
    assert any("pip install -e" in c and "project" in c for c in description["setup_commands"])
    assert description["file_mounts"]["~/project"] == "."


def test_nothing_listens_to_the_world(description: dict[str, Any]) -> None:
    assert "0.0.0.0" not in TEXT and "::/0" not in TEXT
    head = " ".join(description["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head and "--ray-client-server-port" not in head
    for commands in (description["head_start_ray_commands"], description["worker_start_ray_commands"]):
        starts = [c for c in commands if "ray start" in c]
        assert len(starts) == 1 and "RAY_AUTH_MODE=token" in starts[0].partition("ray start")[0]
    assert any("export RAY_AUTH_MODE=token" in c for c in description["setup_commands"])  # the driver too
    assert "~/.ray/auth_token" in description["file_mounts"]
    assert "ssh_private_key" in description["auth"]
    for kind in description["available_node_types"].values():
        node = kind["node_config"]
        assert node["SecurityGroupIds"] and node["KeyName"] and node["ImageId"].startswith("ami-")
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])


@mock_aws
def test_ray_adds_no_rule_to_the_security_group(description: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    ec2 = boto3.client("ec2", region_name=description["provider"]["region"])
    group = ec2.create_security_group(GroupName="ray_ssl", Description="ray_ssl")["GroupId"]
    ec2.create_key_pair(KeyName="ray_ssl")
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[inside, ssh])
    before = ec2.describe_security_groups()["SecurityGroups"]
    for kind in description["available_node_types"].values():
        kind["node_config"]["SecurityGroupIds"] = [group]
    bootstrapped = bootstrap_aws(description)
    assert ec2.describe_security_groups()["SecurityGroups"] == before  # neither a rule nor a group more
    for kind in bootstrapped["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == [group]
        assert len(kind["node_config"]["SubnetIds"]) == 3  # every zone


def test_it_grows_within_limits_and_outlives_a_boot(description: dict[str, Any]) -> None:
    kinds = description["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0 and kinds["head"]["max_workers"] == 0
    assert "InstanceMarketOptions" not in kinds["head"]["node_config"]
    assert kinds["gpu_spot"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in kinds["gpu_on_demand"]["node_config"]
    assert all(kind["min_workers"] == 0 for kind in kinds.values())
    assert description["idle_timeout_minutes"] > BOOT_MINUTES


def test_trials_are_planned_for_the_nodes_that_may_come(description: dict[str, Any]) -> None:
    nodes = promised_nodes(description)
    assert len(nodes) == 1 + description["max_workers"]  # the kinds together may have more
    assert capacity(MachineOptions(), num_workers=1, nodes=nodes).num_concurrent == description["max_workers"]
    assert promised_nodes({"available_node_types": {"local": {"resources": {}, "max_workers": 2}}}) == []
    assert promised_nodes({}) == []


def test_machines_that_have_not_joined_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "description.yaml"
    file.write_text("max_workers: 2\nprovider: {type: local, head_ip: a, worker_ips: [b, c]}")
    monkeypatch.setattr("ray_ssl.capacity.DESCRIPTION", str(file))
    options = MachineOptions(address="head:6379")
    warn_of_absent_machines(options, [{"CPU": 2.0}] * 3)
    assert not caplog.records
    warn_of_absent_machines(options, [{"CPU": 2.0}])
    assert "1 of the cluster's 3 machines" in caplog.text


def nodes_for(description: dict[str, Any], num_trials: int, refused: dict[str, str]) -> dict[str, int]:
    """What Ray's autoscaler would start beside the head, where the cloud has just refused some kinds."""
    tracker = NodeProviderAvailabilityTracker()
    for kind, reason in refused.items():
        tracker.update_node_availability(kind, 2**40, NodeLaunchException(reason, "", None))

    def score(resources: Any, demands: Any, kind: str) -> Any:
        return prefer_available(resources, demands, kind, node_availability_summary=tracker.summary())

    kinds = description["available_node_types"]
    return dict(get_nodes_for(kinds, {"head": 1}, "head", 16, [TRIAL] * num_trials, score)[0])


@pytest.mark.parametrize("memory", [{}, {"memory": 32 << 30}])  # Ray finds out the memory of AWS's instance types
def test_spot_first_and_on_demand_where_there_is_none(description: dict[str, Any], memory: dict[str, int]) -> None:
    for kind in description["available_node_types"].values():
        kind["resources"] |= memory
    assert nodes_for(description, 3, {}) == {"gpu_spot": 3}
    assert nodes_for(description, 3, {"gpu_spot": "InsufficientInstanceCapacity"}) == {"gpu_on_demand": 3}
    both = {"gpu_spot": "InsufficientInstanceCapacity", "gpu_on_demand": "InsufficientInstanceCapacity"}
    assert nodes_for(description, 3, both) == {"gpu_spot": 3}


def test_a_kind_that_does_not_fit_is_never_chosen() -> None:
    summary = SimpleNamespace(node_availabilities={})
    assert prefer_available({"CPU": 8}, [TRIAL], "cpu", node_availability_summary=summary) is None


def test_the_autoscaler_is_the_one_that_asks_it(description: dict[str, Any]) -> None:
    start = description["head_start_ray_commands"][-1]
    assert "RAY_enable_autoscaler_v2=0" in start
    name = f"{prefer_available.__module__}.{prefer_available.__name__}"
    assert f"RAY_AUTOSCALER_UTILIZATION_SCORER={name}" in start
