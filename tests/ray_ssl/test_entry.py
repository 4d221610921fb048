"""Ctrl-C and SIGTERM of the commands that are no sweeps: from the first moment two lines and exit code 75."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_ssl import entry
from ray_ssl.entry import run_command
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_INTERRUPTED, UserError
from tests.sweeps.command import start
from tests.sweeps.test_signals import wait_for_handlers


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("analysis", ["no where"]),
        ("analysis", ["encoder", "torchvision:resnet18", "--weights", "none", "--dataset", "shapes"]),
        ("ray_ssl.export", ["no where", "out"]),
    ],
)
def test_at_the_first_moment(module: str, arguments: list[str], name: str, tmp_path: Path) -> None:
    process = start(tmp_path, *arguments, module=module)
    wait_for_handlers(process)
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=60)
    line = f"python -m {module} {shlex.join(arguments)}"
    assert (process.returncode, out) == (EXIT_INTERRUPTED, "")
    assert err == f"interrupted; nothing that was finished is lost. To go on:\n  {line}\n"


@pytest.mark.parametrize(
    "module", ["analysis.__main__", "ray_ssl.export", "ray_ssl.sweep.__main__", "sweeps.depth_width"]
)
def test_nothing_that_takes_seconds_is_imported_before(module: str) -> None:
    code = f"import sys, {module}; print([name for name in ('torch', 'pyarrow', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"


def test_the_time_that_imports_take_is_counted_and_an_earlier_command_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_began", time.monotonic() - 1000)

    def answer(arguments: list[str]) -> int:
        time.sleep(0.05)  # an import
        assert 0.05 <= entry.seconds_since_start() < 1000
        return EXIT_DONE

    assert entry.run_command(answer, ["x"], []) == EXIT_DONE


@pytest.mark.parametrize("error", [UserError("one\nline"), OSError("one line")])
def test_what_a_user_can_mend_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(arguments: list[str]) -> int:
        raise error

    assert run_command(answer, ["x"], []) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and "one line" in err and err.count("\n") == 1


def test_a_reader_that_ends_early_is_no_error(tmp_path: Path) -> None:
    code = (
        "import sys; from ray_ssl.entry import run_command\n"
        "sys.exit(run_command(lambda _: [print('x' * 99) for _ in range(9999)] and 0, ()))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == EXIT_INTERRUPTED
