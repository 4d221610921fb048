"""Which kind of node Ray's autoscaler starts: one that was to be had lately; runs in the autoscaler, on the head.

Set by RAY_AUTOSCALER_UTILIZATION_SCORER=ray_ssl.node_choice.prefer_available where the head is started (cluster.yaml).
Ray's own choice looks at the resources alone, so it would ask again and again for spot instances that are not there.
"""

from __future__ import annotations

from typing import Any


def prefer_available(
    node_resources: dict[str, Any],
    demands: list[dict[str, Any]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[Any, ...] | None:
    """Returns how good a kind of node is for what is asked for, larger is better; None where none of it fits.

    Args:
        node_resources: Of one node of this kind.
        demands: What tasks and trials ask for.
        node_type: Its name in cluster.yaml.
        node_availability_summary: Ray's record of which kinds the cloud gave or refused within the last 30 minutes.
    """
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer

    fit = _default_utilization_scorer(
        node_resources, demands, node_type, node_availability_summary=node_availability_summary
    )
    record = node_availability_summary.node_availabilities.get(node_type)
    return None if fit is None else (record is None or record.is_available, *fit)
