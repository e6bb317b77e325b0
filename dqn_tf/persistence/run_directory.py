"""The directory of a run: it has one writer at a time, and always the same settings. Without TensorFlow."""

import contextlib
import datetime
import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import pathlib
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

from dqn_tf.cluster import launcher
from dqn_tf.config import files, settings
from dqn_tf.config.schema import Config, ConfigError, one_line
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.persistence import archive, identity, manifest, own_files, results, rows

_log = logging.getLogger(__name__)

_MOST_TRIES = 1000
_CONFIG, _SUMMARY = "config.json", "summary.json"
# A run refuses a directory that has these files from somebody else.
_BEST = "evaluator/best.npz"
_OWN = (_CONFIG, "checkpoints", rows.ROWS, "reward_curve.png")


def default_logdir(env_id: str) -> str:
    """Returns runs/<env>/<time>-<six hex digits>; the digits tell commands of the same second apart."""
    name = env_id.rsplit(":", 1)[-1].replace("/", "-")
    moment = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return os.path.join("runs", name, f"{moment}-{secrets.token_hex(3)}")


def scratch(place: str, task: str) -> str:
    """Returns the local directory for a task of a run that is kept in a bucket."""
    digest = hashlib.sha256(place.rstrip("/").encode()).hexdigest()[:16]
    return os.path.join(tempfile.gettempdir(), f"dqn_tf-{os.getuid()}-{digest}-{task}")


def to_text(tree: Any) -> str:
    """Returns a tree of plain values as JSON, as in the run's files."""
    return json.dumps(tree, indent=2) + "\n"


def check_spaces(spec: EnvironmentSpec, made: manifest.Manifest, name: str) -> None:
    """Raises ConfigError if a checkpoint of the run called `name` is of an environment with other spaces."""
    for kind, now in spec.spaces().items():
        before = made.environment.get(kind, now)
        if before != now:
            raise ConfigError(
                f"--env={spec.env_id} has other {kind} than the run in {name}: {now} now, {before} then; "
                "use a new --logdir or the environment as it was."
            )


class RunDirectory:
    """Files of one run.

    Attributes:
      path: the directory.
      name: the user's name of it: the path, or the address of the bucket to which it is copied.
    """

    def __init__(self, path: str, name: str = ""):
        self.path = pathlib.Path(path)
        self.name = name or path
        self._is_scratch = bool(name)
        self._lock = None
        self._made: list[pathlib.Path] = []

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    @property
    def lock_path(self) -> pathlib.Path:
        return self.path / ".lock"

    @property
    def has_checkpoint(self) -> bool:
        return manifest.newest(self.checkpoints) is not None

    def check_access(self) -> None:
        """Raises ConfigError if the directory of checkpoints cannot be read."""
        try:
            os.listdir(self.checkpoints)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ConfigError(f"--logdir={self.name}: {self.checkpoints} cannot be read: {error.strerror}.") from None

    def check(self, config: Config) -> None:
        """Raises ConfigError if `config` may not be run here: because of --resume, or of a run with other settings."""
        self.check_access()
        resume = config.run.resume
        if resume == "never" and self.is_used:
            raise ConfigError(f"--resume=never but --logdir={self.name} holds a run; use a new --logdir.")
        if resume == "must" and not self.has_checkpoint:
            raise ConfigError(f"--resume=must but --logdir={self.name} holds no checkpoint; use the --logdir of a run.")
        links = own_files.links(self.path)
        if links:
            raise ConfigError(f"{links[0]} is a link, which is not followed; remove it or use a new --logdir.")
        made = self._newest_readable()
        if made is not None:
            self._check_same(made.config, settings.to_json(config))
        for name in (_SUMMARY, results.MODEL):
            if not self.has_checkpoint and os.path.lexists(self.path / name):
                raise ConfigError(
                    f"--logdir={self.name} holds {name} of a finished run, but none of its checkpoints; "
                    "bring them back, or use a new --logdir."
                )
        if not self.has_checkpoint:
            self._check_foreign()

    def _newest_readable(self):
        """Returns the newest manifest that can be read, None without a checkpoint. Raises ConfigError: none can."""
        there, made = manifest.numbers(self.checkpoints), manifest.newest_readable(self.checkpoints)
        if there and made is None:
            try:
                return manifest.read(self.checkpoints, there[-1])
            except archive.Damaged as error:
                advice = "bring one back from a copy, or use a new --logdir."
                raise ConfigError(f"--logdir={self.name}: no checkpoint can be read: {error}; {advice}") from None
        return made

    def _check_foreign(self):
        """Raises ConfigError if the directory has files of somebody else under the names of a run's files."""
        foreign = {name for name in _OWN if os.path.lexists(self.path / name)} - own_files.listed(self.path)
        if os.path.lexists(self.path / _BEST):  # which an evaluator writes after the first checkpoint
            foreign.add(_BEST)
        if foreign:
            raise ConfigError(
                f"--logdir={self.name} holds {' and '.join(sorted(foreign))}, which no run there has made; "
                "use a new --logdir."
            )

    def _check_same(self, old, new):
        """Raises ConfigError if settings differ from those in a checkpoint; config.json is not trusted."""
        differences = identity.differences(old, new)
        if differences:
            raise ConfigError(*(f"checkpoint {self.name} was trained with {line}" for line in differences))
        try:
            lines = identity.differences(files.read_object(self.path / _CONFIG), old)
            reason = f"it is not the run's: {', '.join(line.partition(',')[0] for line in lines)}" if lines else ""
        except OSError as error:
            reason = error.strerror
        if reason:
            _log.warning("%s is written anew from the checkpoint's: %s", self.path / _CONFIG, one_line(reason))

    def check_environment(self, spec: EnvironmentSpec) -> None:
        """Raises ConfigError if the newest checkpoint is of an environment with other spaces."""
        made = manifest.newest_readable(self.checkpoints)
        if made is not None and made.config.get("run", {}).get("env") == spec.env_id:  # else that is what differs
            check_spaces(spec, made, self.name)

    @property
    def is_used(self) -> bool:
        return self.has_checkpoint or os.path.lexists(self.path / _CONFIG)

    def finished_env_steps(self) -> int:
        """Returns the env steps of the finished run here, 0 if there is none."""
        newest = manifest.newest(self.checkpoints)
        if newest is None or not os.path.lexists(self.path / _SUMMARY):
            return 0
        if type(env_steps := self._read_json(_SUMMARY).get("env_steps")) is not int:
            raise ConfigError(f"{self.path / _SUMMARY} holds no env_steps; use a new --logdir or delete it.")
        return min(env_steps, newest)

    def finished_return(self) -> float:
        """Returns the mean of the last evaluation during the finished run here, minus infinity if it is not known."""
        last = self._read_json(_SUMMARY).get("last_eval_return_mean")
        return float(last) if isinstance(last, int | float) else -math.inf

    def damage_of_results(self) -> str:
        """Returns what is wrong with the model of a finished run, "" if nothing is."""
        try:
            results.check(self.path, self._read_json(_SUMMARY))
        except archive.Damaged as error:
            return str(error)
        return ""

    def acquire(self) -> None:
        """Makes the directory and takes its lock, which this process keeps while it lives.

        Raises:
          ConfigError: it cannot be written, or another process writes it.
        """
        lock, tries, inherited = None, 0, launcher.take_lock()
        while lock is None:
            tries += 1
            try:
                self._make()
                if inherited is None:
                    lock = os.fdopen(own_files.open_own(self.lock_path, os.O_RDWR), "rb+", buffering=0)
                else:  # the launcher's, which is held already
                    lock, inherited = os.fdopen(inherited, "rb+", buffering=0), None
            except OSError as error:
                if isinstance(error, FileNotFoundError) and tries < _MOST_TRIES:
                    continue  # another process made the directory, was refused, and removed it
                raise ConfigError(f"--logdir={self.path} cannot be written: {error.strerror}.") from None
            if not self._take(lock):
                lock.close()
                raise ConfigError(f"--logdir={self.name} is being written by another process; use a new --logdir.")
            self._lock = lock
            if self.is_gone():  # likewise
                self.release()
                lock = None

    def _take(self, lock):
        """Returns whether no other process has the lock."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            advice = "see to it that no other process writes there"
            _log.warning("%s cannot be locked (%s): %s", self.name, error.strerror, advice)
        return True

    def _make(self):
        if not self._is_scratch:
            missing = [path for path in (self.path, *self.path.parents) if not os.path.lexists(path)]
            self.path.mkdir(parents=True, exist_ok=True)
            return self._made.extend(path for path in missing if path not in self._made)
        self.path.mkdir(exist_ok=True, mode=0o700)  # other users may write its parent
        status = self.path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise ConfigError(f"{self.path} is somebody else's; set TMPDIR to a directory of your own.")

    @property
    def lock(self) -> int:
        """The descriptor of the lock that this process has."""
        return self._lock.fileno()

    def release(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def clear(self) -> None:
        """Removes all files in the directory but the lock."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != self.lock_path:
                path.unlink()

    def abandon(self) -> None:
        """Gives the lock back, and removes the directories that `acquire` has made if they are empty."""
        with contextlib.suppress(OSError):
            if self._made:
                self.lock_path.unlink()
            for path in self._made:
                path.rmdir()
        self._made.clear()
        self.release()

    def is_gone(self) -> bool:
        """Returns whether somebody has removed the directory or the lock of this process."""
        try:
            return self._lock is not None and not os.path.samestat(os.fstat(self._lock.fileno()), self.lock_path.stat())
        except OSError:
            return True

    @contextlib.contextmanager
    def acquired(self) -> Iterator["RunDirectory"]:
        """Returns a context in which the lock is held. After a ConfigError no empty directory is left."""
        if self._lock is None:
            self.acquire()
        try:
            yield self
        except ConfigError:
            self.abandon()
            raise
        finally:
            self.release()

    def begin(self, config: Config) -> None:
        """Lists the files of a run as its own, then writes config.json. Raises OSError."""
        own_files.to_list(self.path, own_files.listed(self.path) | set(_OWN))
        self.write_json(_CONFIG, settings.to_json(config))

    def write_json(self, name: str, tree: Any) -> None:
        """Writes `name` whole or not at all."""
        archive.write_whole(self.path / name, to_text(tree))

    def _read_json(self, name):
        try:
            return files.read_object(self.path / name)
        except OSError as error:
            raise ConfigError(f"{self.path / name} cannot be read: {error.strerror}.") from None
