"""Generated bad command lines and configurations: exit code 2, one line, no traceback, before Ray is imported.

They are refused where they are parsed, in this process; a sample is run as a user runs them, under `--full`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args
from unittest import mock

from pydantic.fields import FieldInfo

import sweeps.cli
from ray_ssl.config import PretrainConfig
from ray_ssl.errors import EXIT_BAD_INPUT, UserError
from ray_ssl.part import part_type, plain_type
from ray_ssl.plugins import plugin_module, plugin_names
from sweeps import depth_width, finetune, method, randomness, reverse_engineering, transfer
from tests.faults.counts import Counts
from tests.sweeps.command import run as run_command

LETTER = "f"
NUM_CASES = {False: 250, True: 10_000}
NUM_COMMANDS = {False: 0, True: 30}
MAX_SECONDS = 2.0

SWEEPS = [module.SWEEP for module in (depth_width, finetune, method, randomness, reverse_engineering, transfer)]
ODD = "äßñ漢字🙂\u200b\u202e\u0301\ufeff∞½²Ⅷ\x07\x1b\n\t'\"\\%$`{}[]#"
"""Letters that some code takes for digits, marks, ends of lines or formats."""

Line = tuple[sweeps.cli.Sweep, list[str]]


def _word(rng: random.Random) -> str:
    """Text that is no number, no name and no flag."""
    return "zq" + "".join(rng.choice(ODD + "abc") for _ in range(rng.randrange(6)))


@functools.cache
def _parser(sweep_number: int) -> tuple[Any, dict[str, str]]:
    return _make_parser(SWEEPS[sweep_number])


_make_parser = sweeps.cli._parser


def _actions(number: int) -> list[argparse.Action]:
    return [a for a in _parser(number)[0]._actions if a.option_strings and a.dest != "help"]


@functools.cache
def _fields() -> dict[str, tuple[FieldInfo, str]]:
    """Each plain option by flag, with the method or backbone that has it ("": all have it)."""
    found: dict[str, tuple[FieldInfo, str]] = {}
    for name, field in PretrainConfig.model_fields.items():
        part = part_type(field.annotation)
        if part is None:
            found[f"--{name.replace('_', '-')}"] = (field, "")
        elif name in ("method", "backbone"):
            for plugin in plugin_names(f"ray_ssl.{name}s"):
                for leaf, inner in plugin_module(f"ray_ssl.{name}s", plugin).Config.model_fields.items():
                    found.setdefault(f"--{leaf.replace('_', '-')}", (inner, f"{name} {plugin}"))
        else:
            found |= {f"--{leaf.replace('_', '-')}": (inner, "") for leaf, inner in part.model_fields.items()}
    return found


def _wrong_type(number: int, rng: random.Random) -> list[str]:
    typed = [a for a in _actions(number) if a.choices is not None or a.type not in (None, str)]
    typed = [a for a in typed if a.metavar != "TEXT"]
    action = rng.choice(typed)
    values = [_word(rng) for _ in range(action.nargs if isinstance(action.nargs, int) else 1)]
    return [f"{action.option_strings[0]}={values[0]}"] if len(values) == 1 else [action.option_strings[0], *values]


def _out_of_range(number: int, rng: random.Random) -> list[str]:
    """A number below or above what its option takes, not finite, or not whole where it must be."""
    flags = _parser(number)[1].values()
    known = [(flag, *_fields()[flag]) for flag in flags if flag in _fields()]
    numbers = [one for one in known if plain_type(one[1].annotation) in (int, float)]
    flag, field, owner = rng.choice(numbers)
    bad = [_number(limit, rng) for limit in _limits(field)] + ["nan", "inf", "-inf", "1e999"]
    chosen = rng.choice([value for value in bad if value])
    return [f"{flag}={chosen}", *(_choosing(number, owner))]


def _limits(field: FieldInfo) -> list[Any]:
    """What bounds an option, also inside `Count | None`."""
    inner = [limit for one in get_args(field.annotation) for limit in getattr(one, "__metadata__", ())]
    return [*field.metadata, *(limit for one in inner for limit in getattr(one, "metadata", [one]))]


def _choosing(number: int, owner: str) -> list[str]:
    """The flags that choose the method or backbone which has an option."""
    part, _, name = owner.partition(" ")
    flags = {action.option_strings[0] for action in _actions(number)}
    return next(([flag, name] for flag in (f"--{part}", f"--{part}s") if part and flag in flags), [])


def _number(limit: Any, rng: random.Random) -> str:
    """A number beyond a limit; "" where it is none."""
    far = rng.choice([1, 7, 10**6, 10**18, 10**400])
    for name, sign, off in (("ge", -1, far), ("gt", -1, rng.choice([0, far])), ("le", 1, far),
                            ("lt", 1, rng.choice([0, far]))):  # fmt: skip
        bound = getattr(limit, name, None)
        if bound is not None:
            return f"{int(bound) + sign * off}" if sign < 0 or bound == int(bound) else "1e400"
    return ""


def _typo(number: int, rng: random.Random) -> list[str]:
    flags = {flag for action in _actions(number) for flag in action.option_strings} | {"--help"}
    while True:
        letters = list(rng.choice(sorted(flags)))
        place = rng.randrange(2, len(letters))
        letters[place : place + 1] = rng.choice([[], [letters[place]] * 2, [rng.choice("xyz-é")], ["=", "1"]])
        typo = "".join(letters)
        if typo.partition("=")[0] not in flags and typo != "--":
            return [typo, *rng.choice([[], ["1"], ["x", "y"]])]


def _empty(number: int, rng: random.Random) -> list[str]:
    """A flag without its value, or with the empty one."""
    takes = [
        a
        for a in _actions(number)
        if a.nargs not in (0, "*") and (a.type is not None or a.choices) and a.metavar != "TEXT"
    ]
    flag = rng.choice(takes).option_strings[0]
    return rng.choice([[flag], [f"{flag}="], [flag, ""]])


def _unknown_name(number: int, rng: random.Random) -> list[str]:
    name = rng.choice([_word(rng), "vicre", "RESNET18", "cifar", "none ", "*"])
    flags = [a.option_strings[0] for a in _actions(number) if a.choices is not None and a.nargs != 0]
    flags += ["--dataset", "--metrics", "--levels"]
    return [f"{rng.choice(flags)}={name}"]


def _contradiction(number: int, rng: random.Random) -> list[str]:
    few, many = rng.randrange(2, 9), rng.randrange(3, 400)
    choices = [
        [f"--num-workers={2 * many}", f"--global-batch-size={2 * many + 1}"],
        [f"--crop-scale={0.5 + few / 100}", "0.2"], ["--crop-scale", f"{0.5 + few / 100}", "0.2"],
        ["--blur-sigma", str(few), str(few / 2)], ["--blur-sigma", "0.1", str(few)],
        [f"--trust-coefficient={1 / many}", "--optimiser", "sgd", "--learning-rate", "0.1"],
        ["--search", "optuna"], [f"--num-trials={few}"], ["--vary", "learning-rate=0.1:1"],
        ["--search", "optuna", f"--num-trials=-{few}"], ["--search", "optuna", "--num-trials=2", "--vary", "x=1:2"],
        ["--search", "optuna", "--num-trials=2", "--vary", f"learning-rate={few}:1"],
        ["--search", "optuna", "--num-trials=2", "--seeds", "0", str(few)],
        [f"--cpus-per-worker=-{few}"], [f"--num-cpus=-{few}"], ["--num-cpus=0"], [f"--num-cpus={10 ** (3 * few)}"],
        ["--search", "optuna", f"--num-trials={10 ** (7 * few)}"], [f"--cpus-per-worker={10**30}"],
        [f"--gpus-per-worker={few + 0.5}"], ["--gpus-per-worker=-1"], ["--state-seconds=nan"],
        [f"--state-seconds=-{few}"],
        [f"--name=../{few}"], ["--name=.."], [f"--name=a/{few}"], ["--name= "],
        [f"--storage=gopher://{few}"], [f"--storage=what?{few}"], [f"--storage=a%{few}"],
        [f"--tracking-uri=ftp://{few}"], [f"--tracking-uri=mlruns{few}"], [f"--tracking-uri=sqlite://{few}"],
        ["--dataset", "parquet"], ["--dataset", "folder:"], ["--dataset", "shapes:x"], [f"--dataset=cifar{few}"],
        [f"--num-samples={1 - few}"], [f"--num-train-views=-{few}"], [f"--sample-seed=-{few}"],
        ["--address", f"foo{few}"], ["--address", "ray://x"], ["--address", f"1.2.3.4:{65536 * few}"],
        [f"--seeds={2**63 + many}"], [_word(rng)],
    ]  # fmt: skip
    return rng.choice(choices)


def _two(number: int, rng: random.Random) -> list[str]:
    """Two faults in one line."""
    return [*rng.choice(KINDS[:-2])(number, rng), *rng.choice(KINDS[:-2])(number, rng)]


def _any_text(number: int, rng: random.Random) -> list[str]:
    """Odd text for an option that takes any: refused or taken, in good order."""
    value = "".join(rng.choice(ODD + "ab/.:-0") for _ in range(rng.randrange(12)))
    return [f"{rng.choice(_actions(number)).option_strings[0]}={value}"]


KINDS: list[Callable[[int, random.Random], list[str]]] = [
    _wrong_type, _out_of_range, _typo, _empty, _unknown_name, _contradiction, _two, _any_text
]  # fmt: skip


def run(full: bool, seed: int) -> Counts:
    """Refuses generated command lines, and stored configurations; see `KINDS` and `_configurations`."""
    counts, rng, slowest, accepted = Counts(), random.Random(seed), 0.0, 0
    had_ray = "ray" in sys.modules
    samples: list[list[str]] = []
    with mock.patch.object(sweeps.cli, "_parser", lambda sweep: _parser(SWEEPS.index(sweep))), _elsewhere():
        for case in range(NUM_CASES[full] * 4 // 5):
            number, kind = rng.randrange(len(SWEEPS)), KINDS[case % len(KINDS)]
            line = kind(number, rng)
            began = time.perf_counter()
            problem = _problem(functools.partial(_parse, SWEEPS[number], line))
            slowest = max(slowest, time.perf_counter() - began)
            if problem == TAKEN and kind is _any_text:
                problem, accepted = None, accepted + 1
            counts.case(f"sweeps/{SWEEPS[number].name}.py {line}", problem)
            if number == 0 and kind is not _any_text:
                samples.append(line)
    for text in _configurations(NUM_CASES[full] // 5, rng):
        counts.case(f"configuration {text!r}", _problem(functools.partial(PretrainConfig.from_json, text)))
    if not had_ray and "ray" in sys.modules:
        counts.case("import", "Ray was imported")
    counts.notes.append(f"slowest {slowest:.2f} s; {accepted} of odd texts are names that are taken, in good order")
    if slowest > MAX_SECONDS:
        counts.case("time", f"the slowest took {slowest:.1f} s")
    for line in rng.sample(samples, NUM_COMMANDS[full]):
        counts.case(f"command {line}", _command_problem(line, counts))
    return counts


TAKEN = "it was taken"


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """Works in an empty folder, in which nothing may appear."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        yield
        left = list(Path(name).iterdir())
        assert not left, f"parsing made {left}"


def _parse(sweep: sweeps.cli.Sweep, line: list[str]) -> None:
    """What a command does before it reads its images."""
    request = sweeps.cli.parse(sweep, line)
    _ = request.tasks


def _problem(refuse: Callable[[], Any]) -> str | None:
    """What is wrong with how something was refused."""
    err = io.StringIO()
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            refuse()
    except UserError as error:
        said = " ".join(str(error).split())  # as errors.print_error does
        return None if said else "no reason is given"
    except SystemExit as exit_:
        said = err.getvalue()
        if exit_.code != EXIT_BAD_INPUT:
            return f"exit code {exit_.code}"
        return None if len(said.splitlines()) == 1 and said.strip() else f"not one line: {said!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return TAKEN


def _command_problem(line: list[str], counts: Counts) -> str | None:
    """What is wrong with a command's answer, as a user gets it."""
    with tempfile.TemporaryDirectory() as name:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code, out, err = run_command(Path(name), *line)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        left = list(Path(name).iterdir())
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    counts.notes[1:] = [f"commands: the slowest took {max(seconds, _slowest(counts)):.2f} s of CPU time"]
    if code != EXIT_BAD_INPUT or out or len(err.splitlines()) != 1 or left:
        return f"exit code {code}, said {out + err!r}, left {left}"
    return f"{seconds:.1f} s" if seconds > MAX_SECONDS else None


def _slowest(counts: Counts) -> float:
    return float(counts.notes[1].split()[4]) if counts.notes[1:] else 0.0


def _configurations(num: int, rng: random.Random) -> Iterator[str]:
    """Stored configurations with a fault: cut, an unknown option, a value of another type or out of range."""
    for _ in range(num):
        method_name = rng.choice(plugin_names("ray_ssl.methods"))
        values = PretrainConfig.from_dict({"method": method_name}).to_dict()
        text = json.dumps(values)
        kind = rng.randrange(4)
        if kind == 0:
            yield text[: rng.randrange(1, len(text) - 1)]
            continue
        node = rng.choice([values, *(value for value in values.values() if isinstance(value, dict))])
        leaf = rng.choice(sorted(node))
        if kind == 1:
            node[rng.choice([leaf + "x", leaf.upper(), "", _word(rng)])] = 1
        elif kind == 2:
            node[leaf] = rng.choice([_word(rng), {"a": 1}, [1, 2, 3], [[]]])
            if leaf in ("target",) and isinstance(node[leaf], str):
                node[leaf] = 3
        else:
            node[leaf] = rng.choice([-(10**400), -1, -1e308, float("nan"), float("inf")])
        yield json.dumps(values)
