"""The command of the sweep over trainings on an exact graph: its flags, and the trials that they ask for."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Final

from ray_ssl.entry import run_command
from ray_ssl.errors import UserError
from sweeps.run_options import RunOptions, check_cpus, program, run_options

# Everything else is imported where it is used: it takes seconds, and Ctrl-C is ours from the first moment.
if TYPE_CHECKING:
    from analysis.graph.views import ViewFamily
    from ray_ssl.data_config import DataConfig
    from ray_ssl.graph_config import GraphConfig

USUAL_STEPS: Final = 2000
USUAL_SEEDS: Final = (0, 1, 2)
MOST, MOST_SEED = 2**31 - 1, 2**63 - 1
"""Numbers, and seeds, that the table of measurements holds."""

DEMO: Final = {"resolution": 3, "steps": 500}
"""Of the flags that have them, the defaults where no images are named: some hundred nodes, a minute."""


@dataclass(frozen=True)
class GraphSweep:
    """A question that is asked on exact graphs; for the attributes see `sweeps.cli.Sweep`."""

    name: str
    question: str
    example: str


@dataclass(frozen=True, kw_only=True)
class GraphRequest(RunOptions):
    """All that the user asked for.

    Attributes:
        data: The images.
        given: Options of theirs that the user gave; see `analysis.graph.options.that_fit`.
        family: Their views.
        name: As of `RunOptions`; "": made from the data and the options.
        kinds, ks, seeds: One trial for every combination; `ks` None: as many features as usual, or as the graph allows.
        sizes: Numbers of eigenvectors to compare; None: the usual ones.
        num_steps: Of each training.
        demo: No images were named.
    """

    sweep: GraphSweep
    data: DataConfig
    given: Collection[str]
    family: ViewFamily
    kinds: Sequence[str]
    ks: Sequence[int] | None
    seeds: Sequence[int]
    sizes: Sequence[int] | None
    num_steps: int
    demo: bool

    def configs(self, ks: Sequence[int], data: DataConfig) -> list[GraphConfig]:
        """Returns the configurations of all trials on these images, seeds varying slowest."""
        from ray_ssl.graph_config import GraphConfig

        shared = {"data": data.model_dump(mode="json"), "views": asdict(self.family), "num_steps": self.num_steps}
        points = dict.fromkeys(product(self.seeds, ks, self.kinds))
        return [GraphConfig.from_dict({**shared, "kind": kind, "k": k, "seed": seed}) for seed, k, kind in points]


def main(sweep: GraphSweep, arguments: Sequence[str] | None = None) -> int:
    """Runs the command; as `sweeps.cli.main`."""
    return run_command(partial(_answer, sweep), program(), arguments)


def _answer(sweep: GraphSweep, arguments: list[str]) -> int:
    request = parse(sweep, arguments)
    from sweeps.graph_run import run

    return run(request)


def parse(sweep: GraphSweep, arguments: Sequence[str]) -> GraphRequest:
    """Returns what the flags ask for.

    Raises:
        UserError: Options that are out of range.
        SystemExit: A flag that does not exist or cannot be read (code 2), or --help (code 0).
    """
    from analysis.flags import texts
    from analysis.graph.options import USUAL_K, add_graph_flags, images_and_views
    from ray_ssl.flags import Parser
    from ray_ssl.graph_config import KINDS
    from sweeps.run_flags import add_how_flags, add_machine_flags, add_result_flags

    parser = Parser(
        prog=f"sweeps/{sweep.name}.py",
        usage=f"python sweeps/{sweep.name}.py [options]",
        description=sweep.question.strip(),
        epilog="Without --dataset a small demonstration runs on embedded images, with "
        f"{' '.join(f'--{name} {value}' for name, value in DEMO.items())}; a study: {sweep.example}. The same line "
        "again resumes. Exit codes: 0 done, 1 some trials failed, 2 bad input, 75 interrupted.",
    )
    group = parser.add_argument_group("sweep", "One trial for every combination.")
    group.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="NAME",
        help=f"table: free features; network: those of a small network (default: {' '.join(KINDS)})",
    )  # fmt: skip
    group.add_argument(
        "--k", nargs="+", type=int, metavar="N",
        help=f"numbers of features (default: {USUAL_K}, as many as a small graph has, or the nearest eigengap)",
    )  # fmt: skip
    group.add_argument(
        "--seeds", nargs="+", type=int, default=list(USUAL_SEEDS), metavar="N",
        help=f"seeds of the initial weights (default: {' '.join(map(str, USUAL_SEEDS))})",
    )  # fmt: skip
    group.add_argument(
        "--steps", type=int, default=USUAL_STEPS, metavar="N",
        help=f"full-batch steps of each training (default: {USUAL_STEPS})",
    )  # fmt: skip
    add_result_flags(parser, sweep.name)
    add_how_flags(parser)
    add_machine_flags(parser)
    add_graph_flags(parser)
    flags: Namespace = parser.parse_strictly(arguments)
    demo = "data.dataset" not in vars(flags)
    if demo:
        parser.set_defaults(**DEMO)
        flags = parser.parse_strictly(arguments)
    given = vars(flags) | {"gpus_per_worker": 0.0}  # its sparse products are SciPy's
    check_cpus(given)
    data, family = images_and_views(flags)
    _check_ranges(flags)
    request = GraphRequest(
        **run_options(sweep.name, flags.name or "", given, arguments), sweep=sweep, data=data,
        given=texts(flags, "data"), family=family, kinds=flags.kinds, ks=flags.k, seeds=flags.seeds, sizes=flags.sizes,
        num_steps=flags.steps, demo=demo,
    )  # fmt: skip
    return request


def _check_ranges(flags: Namespace) -> None:
    """Raises UserError where a number is out of range."""
    for flag, values, least, most in (
        ("--k", flags.k or (), 2, MOST), ("--steps", (flags.steps,), 1, MOST), ("--seeds", flags.seeds, 0, MOST_SEED),
    ):  # fmt: skip
        for value in values:
            if not least <= value <= most:
                raise UserError(f"{flag} is {least} to {most}, given {value}")
