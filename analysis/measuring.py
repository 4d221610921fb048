"""The command that measures what a table lacks."""

from __future__ import annotations

from typing import Final

from analysis.tasks import DATA, DOMAINS, METRICS, SAMPLE, TARGETS, is_on_request, metric_groups, metric_names
from ray_ssl.plugins import plugin_module

SHIFTED: Final = ", of a sweep with a --shift, as sweeps/transfer.py is"
"""Stands after a command that needs images of two domains."""

OF_A_SHIFT: Final = ", of images with a --shift"
"""The same of a command for sweeps of any kind."""


def measuring_command(metric: str, level: str, sweep: str, begun: bool = False) -> str:
    """Returns the command that measures a metric at a level.

    Args:
        metric: Its name in the table.
        level: Label level; "" is any.
        sweep: The sweep's folder, as it is to stand in the command.
        begun: The sweep has it at some checkpoints, so that images and targets are the right ones for it.
    """
    if metric.startswith("connectivity_"):
        return f"python -m analysis connectivity {sweep}{OF_A_SHIFT}"
    if metric.startswith("estimated_"):
        kind = "image" if level == "sample" else "class"
        estimate = f"python -m analysis connectivity {sweep} --groups {kind}"
        return f"{'' if begun else f'{estimate} && '}python -m analysis {sweep} --metrics estimated_alignment"
    module = next((name for name in metric_names() if metric in _spec_names(name)), None)
    if module and metric_groups(module) == (DOMAINS,):
        return f"python -m analysis {sweep} --levels {DOMAINS}{'' if begun else SHIFTED}"
    group = SAMPLE if level == "sample" else TARGETS if level.startswith(("teacher-", "noise-")) else DATA
    flags = f" --metrics {module}" if module and is_on_request(module) else ""
    flags += f" --levels {group}" if group != DATA else ""
    flags += " --targets FOLDER_OF_SWEEPS_RANDOMNESS" if group == TARGETS and not begun else ""
    return f"python -m analysis {sweep}{flags}"


def _spec_names(module: str) -> list[str]:
    return [spec.name for spec in plugin_module(METRICS, module).SPECS]
