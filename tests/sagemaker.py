"""Containers as SageMaker starts them: a made /opt/ml, the real toolkit as process 1, hosts with names."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from tests import hosts, runs

_APART = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]  # process 1 of its own, as in a container


class Container:
    """What one host of a job runs.

    Attributes:
      base: what is /opt/ml there.
      logs: the file with all that it writes.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        host: str,
        names: Sequence[str],
        hyperparameters: Mapping[str, str],
        network: hosts.Hosts | None = None,
        checkpoints: pathlib.Path | None = None,
    ):
        """Makes /opt/ml of `host` under `directory`.

        Args:
          names: all hosts of the job.
          hyperparameters: all are text, as CreateTrainingJob wants them.
          network: where the hosts are; without one, `host` must be a name of this machine.
          checkpoints: stands for the place in S3 that SageMaker copies to /opt/ml/checkpoints, and back.
        """
        self.base, self.logs, self._app = directory / host / "ml", directory / host / "log", directory / host / "app"
        self._host, self._network, self._checkpoints = host, network, checkpoints
        for name in ("input/config", "output", "model", "code"):
            (self.base / name).mkdir(parents=True)
        if checkpoints and checkpoints.exists():
            shutil.copytree(checkpoints, self.base / "checkpoints")
        self._given = self._files()
        for name, tree in {
            "hyperparameters": dict(hyperparameters),
            "resourceconfig": {"current_host": host, "hosts": sorted(names), "network_interface_name": "eth0"},
            "inputdataconfig": {},
        }.items():
            (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(tree), encoding="utf-8")
        self._app.mkdir()  # /app of the image
        for path in (runs.ROOT / "train.py", runs.ROOT / "deploy" / "start.py"):
            shutil.copy2(path, self._app)
        self._process = None

    def start(self, command: Sequence[str] = (), **environment: str) -> None:
        """Starts the container; with the image's own command unless told."""
        theirs = ("SM_", "SAGEMAKER_", "AWS_", "TF_CONFIG", "DQN_TF_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        argv = [*map(str, command or [sys.executable, self._app / "start.py", "train"])]
        if self._network:
            argv = self._network.command(self._host, [*_APART, *argv])
        ours = {"SAGEMAKER_BASE_DIR": str(self.base), "PYTHONPATH": str(runs.ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
        with self.logs.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                argv,
                cwd=self._app,
                env={**inherited, **ours, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Sends SIGTERM to process 1, as `docker stop` does."""
        os.kill(self.process_1, signal.SIGTERM)

    @property
    def process_1(self) -> int:
        """The process id, seen from outside."""
        if not self._network:
            return self._process.pid
        self.wait(lambda: runs.family(self._process.pid))
        return runs.family(self._process.pid)[0]

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, is_time) -> None:
        """Returns once `is_time()`."""
        give_up = time.monotonic() + runs.SECONDS
        while not is_time():
            assert time.monotonic() < give_up and self.is_running, self.logs.read_text(errors="replace")
            time.sleep(0.005)

    def finish(self, seconds: float = runs.SECONDS) -> int:
        """Returns the exit code; the container is gone afterwards."""
        try:
            code = self._process.wait(seconds)
        finally:
            self.kill()
        for path, written in self._files().items():
            if self._checkpoints and written != self._given.get(path):
                (self._checkpoints / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.base / "checkpoints" / path, self._checkpoints / path)
        return code

    def _files(self):
        """Returns when each file in /opt/ml/checkpoints was written."""
        root = self.base / "checkpoints"
        return {path.relative_to(root): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}

    def kill(self) -> None:
        """Ends the container, if it still runs."""
        if self._process:
            runs.kill(self._process)

    @property
    def text(self) -> str:
        """All that the container has written."""
        return self.logs.read_text(encoding="utf-8", errors="replace")

    @property
    def failure(self) -> str | None:
        """What SageMaker shows as FailureReason; None where there is no such file."""
        path = self.base / "output" / "failure"
        return path.read_text(encoding="utf-8") if path.exists() else None

    @property
    def has_succeeded(self) -> bool:
        return (self.base / "output" / "success").exists()
