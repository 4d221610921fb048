"""What the targets of graded randomness are, printed as a table."""

from __future__ import annotations

from ray_ssl.targets import FEW_LABELS, LARGE_SHARE, Targets, TargetSet


def print_targets(targets: Targets) -> None:
    """Prints what each target is, degenerate ones marked as such."""
    print("targets       randomness  teacher's epoch  agreement train / test  entropy (nats)  labels  largest")
    for name in sorted(targets.sets, key=lambda name: (name.startswith("noise"), name)):
        one = targets.sets[name]
        train, test = one.facts["train"], one.facts["test"]
        epoch = "noise" if one.epoch < 0 else str(one.epoch)
        print(
            f"{name:12}  {one.randomness:10.2f}  {epoch:>15}  {train.agreement:15.3f} / {test.agreement:.3f}  "
            f"{train.entropy:14.3f}  {train.num_used:6}  {train.largest_share:7.0%}"
            f"{_remark(name, one, targets)}",
            flush=True,
        )


def _remark(name: str, one: TargetSet, targets: Targets) -> str:
    facts = one.facts["train"]
    if facts.num_used < FEW_LABELS or facts.largest_share > LARGE_SHARE:
        seed = "; another --teacher-seed has other labels" if one.epoch == 0 else ""
        return f"  degenerate: {facts.largest_share:.0%} of the training images have one label{seed}"
    same = [n for n, other in targets.sets.items() if n < name and other.epoch == one.epoch >= 0]
    return f"  the same as {same[0]}: no checkpoint is nearer" if same else ""
