"""What a terminal is sent: redrawn lines only where it can take them, and only when they change."""

import fcntl
import os
import pty
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.command import Counter
from ray_ssl.config import PretrainConfig
from ray_ssl.ledger import Ledger, make_trials
from ray_ssl.progress import Board
from ray_ssl.storage import Storage

(TRIAL,) = make_trials([PretrainConfig()], "data")
METRICS = {"epoch": 1.0, "loss": 0.5, "images_per_second": 9.0, "epoch_seconds": 2.0, "time": 2e9}


class Terminal:
    """A terminal and what it was sent."""

    def __init__(self, columns: int) -> None:
        self.reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
        self.file = os.fdopen(writer, "w")
        self.sent = b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self.reader, 1 << 16):
                self.sent += chunk
        except OSError:  # the other end is closed
            return

    def close(self) -> bytes:
        self.file.close()
        self.thread.join(10)
        os.close(self.reader)
        return self.sent


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Terminal]]:
    def make(columns: int, term: str = "xterm") -> Terminal:
        made = Terminal(columns)
        monkeypatch.setattr("sys.stdout", made.file)
        monkeypatch.setenv("TERM", term)
        return made

    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    yield make
    monkeypatch.undo()


@pytest.mark.parametrize(("columns", "term"), [(0, "xterm"), (100, "dumb"), (100, "xterm")])
def test_lines_are_redrawn_only_where_the_width_is_known(
    terminal: Callable[..., Terminal], tmp_path: Path, columns: int, term: str
) -> None:
    shown = terminal(columns, term)
    with Board(1, Ledger(Storage.at(tmp_path))) as board:
        board.started(TRIAL)
        board.epoch(TRIAL, METRICS)
    with Counter("measuring", 2) as counter:
        counter.advance(succeeded=True)
        counter.advance(succeeded=True)
    sent = shown.close()
    assert (b"\x1b" in sent) == (columns > 0 and term != "dumb")
    assert (b": started" in sent) == (b"\x1b" not in sent)
    assert b"measured 2/2" in sent


def test_what_stays_the_same_is_sent_once(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    shown = terminal(100)
    with Board(1, Ledger(Storage.at(tmp_path))) as board:
        assert board.live is not None and board.live.refresh_per_second <= 2
        board.started(TRIAL)
        for _ in range(50):
            board.live.refresh()
        board.epoch(TRIAL, METRICS)
        for _ in range(50):
            board.live.refresh()
    sent = shown.close()
    assert 0 < sent.count(TRIAL.name.encode()) <= 3
    assert b"0.5" in sent


def test_a_bar_is_not_redrawn_for_every_step(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(100)
    with Counter("measuring", 1000) as counter:
        for _ in range(1000):
            counter.advance(succeeded=True)
    sent = shown.close()
    assert sent.count(b"/1000") < 100
    assert b"measured 1000/1000" in sent


def test_the_eta_is_of_what_came_after_the_first_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Counter("training", 300, "steps") as counter:
        for _ in range(3):  # 100 steps each: the first waits 20 s for the processes, the others take 40 s
            now[0] += 40.0 if counter.num_measured else 60.0
            counter.advance(True, 100)
    first, second, last = (line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()[1:])
    assert (first, second, last) == ("steps 100/300, ETA ?", "steps 200/300, ETA 40 s", "steps 300/300")
