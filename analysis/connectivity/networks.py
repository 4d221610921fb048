"""Which networks a measurement of connectivity still lacks, and their training, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analysis.command import Counter
from analysis.connectivity.classifier import Advance, ClassifierSettings, Examiner, Normalisation
from analysis.connectivity.estimated import IMAGE
from analysis.connectivity.groups import GroupErrors, Groups
from analysis.connectivity.stored import read_errors, record_name, write_errors
from ray_ssl import interrupts
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage

Network = tuple[int, ...]
"""Groups that a network tells apart: two, one (its halves), or none for all of them."""


@dataclass(frozen=True)
class Wanted:
    """What is measured.

    Attributes:
        name: Of the files, see `stored`.
        about: JSON values that identify the images and how they are grouped; with the settings they name the numbers.
        what: In words, e.g. "3 pair(s) of classes".
        num_groups: G.
        within: Groups whose halves are told apart, ascending.
        between: Groups i < j that are told apart, ascending.
        groups_of: From a seed to the training and the test images by group.
        normalisation: See `Examiner`.
    """

    name: str
    about: Mapping[str, Any]
    what: str
    num_groups: int
    within: Sequence[int]
    between: Sequence[tuple[int, int]]
    groups_of: Callable[[int], tuple[Groups, Groups]]
    normalisation: Normalisation


def measure(
    sweep: Storage, wanted: Wanted, settings: ClassifierSettings, seeds: Sequence[int]
) -> dict[int, GroupErrors]:
    """Returns the errors by seed, those that are in the sweep's folder from there; new ones are put there.

    A network is measured as a whole: what an interruption loses is the one at hand.

    Raises:
        UserError: Errors of this name were measured with other numbers.
    """
    about = {**wanted.about, "settings": settings.to_dict()}
    _refuse_other_numbers(sweep, wanted.name, about)
    found = read_errors(sweep, about, wanted.name)
    todo = [(seed, network) for seed in seeds for network in _lacking(found.get(seed), wanted, settings)]
    if not todo:
        print(f"nothing to measure: the connectivity of {wanted.what} is known")
        return found
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    title = f"connectivity of {wanted.what}: {len(todo)} network(s) of {settings.num_steps} steps"
    with Counter(title, len(todo) * settings.num_steps, "steps") as counter:
        for seed in sorted({seed for seed, _ in todo}):
            groups = wanted.groups_of(seed)
            examiner = Examiner(settings, seed, wanted.normalisation, device, _advance(counter))
            found.setdefault(seed, GroupErrors.none(wanted.num_groups))
            for _, network in (one for one in todo if one[0] == seed):
                found[seed] = _with(found[seed], network, examiner, groups)
                write_errors(sweep, about, found, wanted.name)
    return found


def refuse_other_way(sweep: Storage, name: str, way: str) -> None:
    """Raises UserError where errors of this name were measured in another way: they would be replaced."""
    record = sweep.read_sealed(record_name(name))
    known = way if record is None else record["about"]["settings"]["way"]
    if known != way:
        raise UserError(
            f"--way {way}: this is measured --way {known} here, and would be replaced: give --way {known}, or delete "
            f"{sweep.address(record_name(name))} first"
        )


def _refuse_other_numbers(sweep: Storage, name: str, about: Mapping[str, Any]) -> None:
    """Raises UserError where errors of this name are of something else: they, and what was compared with them, would no
    longer belong together."""
    record = sweep.read_sealed(record_name(name))
    if record is None or record["about"] == about:
        return
    was, now = _typed(record["about"]), _typed(about)
    differing = [option for option in {**now, **was} if was.get(option) != now.get(option)]
    given, known = (", ".join(f"{option} {one.get(option, 'unknown')}" for option in differing) for one in (now, was))
    raise UserError(
        f"{given}: this is measured with {known} here, and would be replaced: give the same, or delete "
        f"{sweep.address(record_name(name))} first"
    )


def _typed(about: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as they are typed, and those that are no options by their names."""
    settings = dict(about["settings"])
    groups = {"--num-images": len(about["num_test"])} if about.get("groups") == IMAGE else {}
    return {
        **groups, "--steps": settings.pop("num_steps"),
        "images of the hash": about["data_fingerprint"][:12], **settings,
    }  # fmt: skip


def _lacking(known: GroupErrors | None, wanted: Wanted, settings: ClassifierSettings) -> Iterator[Network]:
    """The networks that are still to be trained."""
    known = known or GroupErrors.none(wanted.num_groups)
    within = [(group,) for group in wanted.within if np.isnan(known.within[group])]
    between = [two for two in wanted.between if np.isnan(known.between[two])]
    if settings.way == "pairs":
        yield from (*within, *between)
    elif within or between:
        yield ()


def _with(known: GroupErrors, network: Network, examiner: Examiner, groups: tuple[Groups, Groups]) -> GroupErrors:
    """The errors with those of one more network."""
    if not network:
        return examiner.joint(*groups)
    between, within = known.between.copy(), known.within.copy()
    if len(network) == 1:
        within[network[0]] = examiner.within(*groups, *network)
    else:
        between[network] = between[network[::-1]] = examiner.between(*groups, *network)
    return GroupErrors(between, within)


def _advance(counter: Counter) -> Advance:
    def advance(num_steps: int) -> None:
        interrupts.check()
        counter.advance(True, num_steps)

    return advance
