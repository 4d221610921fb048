"""Two machines on loopback, each with its own home, Python environment and real sshd, as `ray up` finds them."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from pathlib import Path

import psutil

from tests.mlflow_server import free_port

IPS = ("127.0.0.2", "127.0.0.3")
"""Not 127.0.0.1, which Ray takes for the machine's outer address."""
PROJECT = ("ray_ssl", "sweeps", "analysis", "__editable__")


def missing_programs() -> list[str]:
    """Which of the programs that this needs are not installed."""
    return [name for name in ("ssh", "ssh-keygen", "rsync", "sshd") if _program(name) is None]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Machines:
    """A laptop's home, and the homes of a head and a worker behind sshd.

    Args:
        folder: Empty, and with a short name: Ray's sockets lie in it.
        exported: Environment of the head and the worker.
    """

    def __init__(self, folder: Path, exported: dict[str, str]) -> None:
        self.folder, self.port = folder, free_port()
        self.key, self.wrapper = folder / "key", folder / "bin" / "ssh"
        for name in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        self._write_ssh_wrapper()
        self.laptop = folder / "laptop"
        self.homes = {ip: folder / name for ip, name in zip(IPS, ("head", "worker"), strict=True)}
        token = self.laptop / ".ray" / "auth_token"
        token.parent.mkdir(parents=True)
        token.write_text("0123456789abcdef" * 4)
        token.chmod(0o600)
        self.daemons = [self._start(ip, home, exported) for ip, home in self.homes.items()]
        for ip in IPS:
            self._wait_for(ip)

    def _write_ssh_wrapper(self) -> None:
        """Ray has no option for the port, and ssh looks for ~ in the password file, not in $HOME."""
        self.wrapper.parent.mkdir()
        settings = self.folder / "ssh_config"
        settings.write_text(f"Port {self.port}\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n")
        self.wrapper.write_text(
            '#!/bin/bash\na=(); before=; for x in "$@"; do\n'
            '[[ $before == -i && $x == "~/"* ]] && x="$HOME/${x:2}"; a+=("$x"); before=$x; done\n'
            f'exec {_program("ssh")} -F {settings} "${{a[@]}}"\n'
        )
        self.wrapper.chmod(0o755)

    def _start(self, ip: str, home: Path, exported: dict[str, str]) -> subprocess.Popen[bytes]:
        make_environment(home / "venv")
        path = f"{home / 'venv' / 'bin'}:{self.wrapper.parent}:$PATH"
        variables = {**exported, "RAY_TMPDIR": str(self.folder / "tmp")}
        lines = [f'export PATH="{path}"', *(f'export {name}="{value}"' for name, value in variables.items())]
        lines.append(f"cd {home}")  # sshd begins in the password file's home
        (home / ".bashrc").write_text("\n".join([*lines, ""]))
        settings = home / "sshd_config"
        settings.write_text(
            f"Port {self.port}\nListenAddress {ip}\nHostKey {self.folder / 'host_key'}\nPidFile none\n"
            f"AuthorizedKeysFile {self.key}.pub\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            f"UsePAM no\nStrictModes no\nMaxSessions 50\nMaxStartups 50\nSetEnv HOME={home}\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        sshd = _program("sshd")
        assert sshd is not None
        return subprocess.Popen([sshd, "-D", "-f", settings, "-E", home / "sshd.log"], start_new_session=True)

    def _wait_for(self, ip: str) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                return socket.create_connection((ip, self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, f"no sshd at {ip}:{self.port}"
                time.sleep(0.05)

    @property
    def auth(self) -> dict[str, str]:
        """For `auth` of a cluster's description."""
        return {"ssh_user": getpass.getuser(), "ssh_private_key": str(self.key)}

    def ray(self, *arguments: str, seconds: float = 420) -> str:
        """Runs Ray's command as its user does on a laptop; returns all that it printed.

        Raises:
            AssertionError: It failed or was not done in time; with the end of what it printed.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {
            "HOME": str(self.laptop), "PATH": f"{self.wrapper.parent}:{environment['PATH']}",
            "RAY_TMPDIR": str(self.laptop), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
        process = subprocess.Popen(
            [*ray, *arguments], cwd=self.folder, env=environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))  # its ssh too
        timer.start()
        out, _ = process.communicate()
        timer.cancel()
        assert process.returncode == 0, f"exit code {process.returncode}: {out[-4000:]}"
        return out

    def close(self) -> None:
        """Ends what was started here: sshd, and everything that has a home in the folder."""
        for daemon in self.daemons:
            daemon.kill()
            daemon.wait()
        mark = f"{self.folder}/"
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME", "").startswith(mark):
                    process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)


def make_environment(folder: Path) -> None:
    """Makes a Python environment with all packages of this one but the project; `ray` and `pip` are commands in it."""
    venv.create(folder, symlinks=True)
    scheme = sysconfig.get_paths("venv", {"base": str(folder), "platbase": str(folder)})
    for package in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not package.name.startswith(PROJECT):
            (Path(scheme["purelib"]) / package.name).symlink_to(package)
    for name, module in {"ray": "ray.scripts.scripts", "pip": "pip._internal.cli.main"}.items():
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        script.chmod(0o755)
