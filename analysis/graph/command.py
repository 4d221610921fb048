"""`python -m analysis graph --dataset NAME`: a look at the exact graph of positive pairs of some images, in seconds.

Builds the graph of a finite family of views (see `analysis.graph.views`), says what it looks like, and what its top
eigenvectors reach: purity of clusters, linear heads. Their numbers go into the table of measurements in STORAGE, what
is there is not computed again. Without --storage the folder is named by the images and a hash of all that changes
numbers. What the spectral contrastive loss learns on the graph is asked by `sweeps/graph.py`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

from analysis.flags import texts
from analysis.graph.experiment import Study, graph_of
from analysis.graph.look import look
from analysis.graph.options import add_graph_flags, images_and_views, ks_that_fit, sizes_that_fit, that_fit
from analysis.graph.recorded import about, eigenvectors_key, graph_key, write_graph
from analysis.graph.spectrum import top_eigenpairs
from analysis.graph.words import clusters, heads, say, say_ties
from analysis.table import MEASUREMENTS, read_table
from ray_ssl.data import load_dataset
from ray_ssl.errors import UserError
from ray_ssl.flags import Parser, add_storage_flag, usual_storage
from ray_ssl.mlflow_client import shown
from ray_ssl.naming import study_folder
from ray_ssl.storage import Storage


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses `python -m analysis graph`; without --storage it is None: its hash is not known yet."""
    parser = Parser(
        prog="python -m analysis graph",
        description="The exact graph of positive pairs of a finite family of views, and its top eigenvectors. "
        "sweeps/graph.py, with the same options and --k, asks what the spectral contrastive loss learns on it.",
    )  # fmt: skip
    add_storage_flag(parser, "folder of the table and the figures", "graph-DATASET-HASH")
    parser.set_defaults(storage=None)
    add_graph_flags(parser)
    flags = parser.parse_strictly(arguments)
    flags.typed = list(arguments)
    return flags


def run(flags: argparse.Namespace) -> int:
    """Runs the command; returns the exit code.

    Raises:
        UserError: A data set, a family or a number that cannot work.
    """
    from analysis.encoder import show  # draws figures

    if "data.dataset" not in vars(flags):
        raise UserError("--dataset says of which images the graph is: shapes, cifar10, cifar100, parquet:PATH ...")
    config, family = images_and_views(flags)
    storage = Storage.at(flags.storage or usual_storage())
    storage.check_writable()  # before what takes minutes of a large graph
    given = texts(flags, "data")
    config, dataset = that_fit(config, given, partial(load_dataset, needs_labels=False))
    found = graph_of(dataset, family)
    num_nodes = found.graph.num_nodes
    sizes = sizes_that_fit(() if flags.sizes else ks_that_fit(None, num_nodes), flags.sizes, num_nodes)
    settings = about(dataset, family)
    if flags.storage is None:
        storage = storage.child(study_folder("graph", config, settings | {"sizes": sizes}))
    print(f"results   {storage.uri}", flush=True)
    study = Study(dataset, found, top_eigenpairs(found.graph, sizes[-1] + 1))
    seen = look(study)
    for line in (*say(study, seen), *say_ties(study, sizes)):
        print(line, flush=True)
    write_graph(storage, study, seen, sizes, settings)
    keys, found = [eigenvectors_key(settings, size) for size in sizes], _table(storage)
    for line in (*clusters(found, graph_key(settings)), *heads(found, keys)):
        print(line, flush=True)
    code = show(storage)
    print(f"next:\n  python sweeps/graph.py {shlex.join(_of_the_sweep(flags))}")
    return code


def _table(storage: Storage) -> Any:
    return read_table(storage.filesystem, storage.path(MEASUREMENTS))


def _of_the_sweep(flags: argparse.Namespace) -> list[str]:
    """The words of the command as the sweep's: --storage, the folder itself, is there that of sweeps and --name."""
    words = [word for word in flags.typed if not word.startswith("--storage=")]
    if "--storage" in words:
        at = words.index("--storage")
        del words[at : at + 2]
    if flags.storage is None:
        return words
    storage = Storage.at(flags.storage)
    return [*words, "--storage", shown(storage.ancestor(1).uri), "--name", storage.name]
