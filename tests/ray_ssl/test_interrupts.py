"""Ctrl-C and SIGTERM at any moment of a process's life: one farewell, the right code, nothing else."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from ray_ssl.errors import EXIT_INTERRUPTED

PRELUDE = """
import os, signal, sys, time
from ray_ssl import interrupts

def send():
    os.kill(os.getpid(), signal.{signal})

interrupts.install("go on with: x")
"""
FAREWELL = "go on with: x\n"


def lived(body: str, name: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process that sends itself signals."""
    code = PRELUDE.format(signal=name) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("body", "code", "out", "err"),
    [
        # Nothing was begun: the process just ends.
        ("send(); print('not reached', flush=True)", EXIT_INTERRUPTED, "", FAREWELL),
        # Something was: it is ended in good order.
        (
            """
            try:
                with interrupts.orderly():
                    send()
            except KeyboardInterrupt:
                print("clean-up")
                interrupts.leave()
            """,
            EXIT_INTERRUPTED, "clean-up\n", FAREWELL,
        ),
        # A second one does not wait for the clean-up.
        (
            """
            try:
                with interrupts.orderly():
                    send()
            except KeyboardInterrupt:
                send()
                print("not reached", flush=True)
            """,
            EXIT_INTERRUPTED, "", FAREWELL,
        ),
        # Held: raised at the end of the block; a second one ends the process inside it.
        (
            """
            with interrupts.orderly():
                try:
                    with interrupts.held():
                        send()
                        print("whole")
                    print("not reached")
                except KeyboardInterrupt:
                    interrupts.leave()
            """,
            EXIT_INTERRUPTED, "whole\n", FAREWELL,
        ),
        (
            """
            with interrupts.orderly(), interrupts.held():
                send()
                print("once", flush=True)
                send()
                print("not reached", flush=True)
            """,
            EXIT_INTERRUPTED, "once\n", FAREWELL,
        ),
        # Swallowed by somebody else's code: noticed at the next check.
        (
            """
            with interrupts.orderly():
                try:
                    send()
                except BaseException:
                    pass
                assert interrupts.received()
                try:
                    interrupts.check()
                except KeyboardInterrupt:
                    interrupts.leave()
            """,
            EXIT_INTERRUPTED, "", FAREWELL,
        ),
        # After the end the code stands.
        ("interrupts.finish(1); send(); print('not reached', flush=True)", 1, "", ""),
        ("interrupts.check(); print('nothing came')", 0, "nothing came\n", ""),
    ],
)  # fmt: skip
def test_a_signal(body: str, code: int, out: str, err: str, name: str) -> None:
    assert lived(body, name) == (code, out, err)


def test_handlers_are_left_alone_until_they_are_installed() -> None:
    from ray_ssl import interrupts

    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with interrupts.orderly(), interrupts.held():
        interrupts.check()
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
