"""The list of checkpoints. A checkpoint exists once its manifest, which names all its files, is renamed into place.

    checkpoints/ckpt-2000/manifest.json   the files of this checkpoint, which may lie in other directories too
    checkpoints/ckpt-2000/...             the files it wrote; later checkpoints may need its part of the replay
    .newest                               env steps of the newest checkpoint ever committed

A manifest carries the checksum of itself and of every file. Without TensorFlow.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from dqn_tf.config import files
from dqn_tf.config.schema import one_line
from dqn_tf.persistence import archive, validity
from dqn_tf.persistence.archive import Damaged, File

FORMAT = 2
_NAME = "manifest.json"
_NEWEST = ".newest"
_OWN = re.compile(r"manifest\.json(\.new|\.damaged)?|(worker|replay)-[-\w]+\.npz|model(-again)?\.(index|data-).*")
_PLACE = re.compile(r"ckpt-(0|[1-9]\d*)", re.ASCII)
_SHA256 = re.compile("[0-9a-f]{64}")
MOST_BYTES = 256 << 20  # of a manifest: thousands of segments of hundreds of workers


@dataclasses.dataclass(frozen=True)
class Segment:
    """A file with the transitions numbered first to end - 1 of a worker's replay."""

    first: int
    end: int
    file: File


@dataclasses.dataclass(frozen=True)
class WorkerPart:
    """A worker's part of a checkpoint.

    Attributes:
      state: the file of its WorkerState.
      num_added: transitions ever added to its replay.
      replay: segments that hold its replay, oldest first.
    """

    state: File
    num_added: int
    replay: tuple[Segment, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A complete state of a run.

    Attributes:
      env_steps: of all workers.
      progress: the fields of Progress.
      model: files of tf.train.Checkpoint.
      workers: in order.
      journal: sizes of the run's growing files, metrics and events, by name.
      config: settings of the run, as in config.json.
      versions: of the packages.
      environment: its spaces, as EnvironmentSpec.spaces has them.
    """

    env_steps: int
    progress: Mapping[str, Any]
    model: tuple[File, ...]
    workers: tuple[WorkerPart, ...]
    journal: Mapping[str, int]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def eval_return(self) -> float | None:
        """Mean of the last evaluation, None before the first."""
        return self.progress.get("last_return")

    @property
    def model_prefix(self) -> str:
        """What tf.train.Checkpoint calls the model, relative to the directory of all checkpoints."""
        return next(file.path for file in self.model if file.path.endswith(".index")).removesuffix(".index")

    @property
    def files(self) -> list[File]:
        """All files that belong to the checkpoint."""
        replay = (segment.file for worker in self.workers for segment in worker.replay)
        return [*self.model, *(worker.state for worker in self.workers), *replay]


def directory(root: pathlib.Path, env_steps: int) -> pathlib.Path:
    """Returns the directory of the checkpoint at `env_steps`."""
    return root / f"ckpt-{env_steps}"


def location(root: pathlib.Path, env_steps: int) -> pathlib.Path:
    """Returns the path of the manifest of the checkpoint at `env_steps`."""
    return directory(root, env_steps) / _NAME


def numbers(root: pathlib.Path) -> list[int]:
    """Returns the env steps of all checkpoints, also of damaged ones, oldest first."""
    return sorted(int(place.name.removeprefix("ckpt-")) for place in _places(root) if (place / _NAME).exists())


def _places(root):
    """Returns the directories of checkpoints. Others, such as the user's copies, are ignored."""
    return [path for path in root.glob("ckpt-*") if _PLACE.fullmatch(path.name) and path.is_dir()]


def newest(root: pathlib.Path) -> int | None:
    """Returns the env steps of the newest checkpoint ever committed, even if it is gone now; None if there was none."""
    try:
        return int(files.read(root.with_name(_NEWEST), 100))
    except (OSError, ValueError):
        there = numbers(root)
        return there[-1] if there else None


def commit(root: pathlib.Path, env_steps: int, text: str) -> None:
    """Completes a checkpoint, whose files have been written, by the text of its manifest. Raises OSError."""
    archive.write_whole(location(root, env_steps), text)
    archive.sync_directory(root)
    archive.write_whole(root.with_name(_NEWEST), f"{env_steps}\n")


def part_to_text(worker: WorkerPart) -> str:
    """Returns a worker's part of the manifest as text, for the chief."""
    return json.dumps(dataclasses.asdict(worker))


def part_from_text(text: str) -> WorkerPart:
    """Returns what `part_to_text` was given."""
    return _worker(json.loads(text))


def to_text(manifest: Manifest) -> str:
    """Returns the content of the manifest's file."""
    return _text({"format": FORMAT, **dataclasses.asdict(manifest)})


def read(root: pathlib.Path, env_steps: int) -> Manifest:
    """Returns a checkpoint's manifest without looking at its files. Raises Damaged."""
    path = location(root, env_steps)
    try:
        content = files.read(path, MOST_BYTES)
        tree = files.parse(content)
        del tree["sha256"]
        if content != _text(tree).encode():
            raise Damaged(f"{path} is not what was written: its checksum differs")
        if tree.pop("format") != FORMAT:
            raise Damaged(f"{path} is of another version of dqn_tf, which alone can resume it")
        manifest = _from_tree(tree)
        validity.check(manifest)
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise Damaged(f"{path} is none of a run: {one_line(str(error)[:200])}") from None
    if manifest.env_steps != env_steps:
        raise Damaged(f"{path} is that of {manifest.env_steps} env steps")
    return manifest


def newest_readable(root: pathlib.Path) -> Manifest | None:
    """Returns the newest manifest that can be read, without looking at its files; None if there is none."""
    return next(filter(None, (_or_none(root, number) for number in reversed(numbers(root)))), None)


def _text(tree):
    """Returns the text of a manifest. Its last entry is the checksum of the others."""
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
    return json.dumps({**tree, "sha256": digest}, indent=1) + "\n"


def _from_tree(tree):
    model, workers = tuple(map(_file, tree.pop("model"))), tuple(map(_worker, tree.pop("workers")))
    made = Manifest(model=model, workers=workers, **tree)
    trees = (made.progress, made.journal, made.config, made.versions, made.environment)
    if not all(isinstance(one, dict) for one in trees):
        raise TypeError("a branch is of another kind")
    return made


def _worker(tree):
    segments = (Segment(one["first"], one["end"], _file(one["file"])) for one in tree["replay"])
    return WorkerPart(_file(tree["state"]), tree["num_added"], tuple(segments))


def _file(tree):
    path, size, sha256 = tree["path"], tree["size"], tree["sha256"]
    if not (isinstance(path, str) and type(size) is int and size >= 0 and _SHA256.fullmatch(sha256)):
        raise TypeError("a file is not described by path, size and sha256")
    return File(path, size, sha256)


def check(root: pathlib.Path, env_steps: int) -> Manifest:
    """Returns a checkpoint's manifest after a check of all its files. Raises Damaged."""
    manifest = read(root, env_steps)
    for file in manifest.files:
        archive.check(root, file)
    return manifest


def set_aside(root: pathlib.Path, good: int) -> list[pathlib.Path]:
    """Renames the manifests of all checkpoints newer than `good`, which are damaged, and returns their old paths.

    The other files stay until the next `prune`.
    """
    gone = [location(root, number) for number in numbers(root) if number > good]
    for path in gone:
        if path.parent.is_symlink():  # the files it points to may belong to another run
            path.parent.rename(path.parent.with_name(f"{path.parent.name}.damaged"))
            continue
        path.replace(path.with_name(f"{_NAME}.damaged"))
    archive.write_whole(root.with_name(_NEWEST), f"{good}\n")
    return gone


def retract(root: pathlib.Path, env_steps: int) -> None:
    """Undoes the commit of the newest checkpoint. Raises OSError."""
    location(root, env_steps).unlink()
    there = numbers(root)
    if there:
        archive.write_whole(root.with_name(_NEWEST), f"{there[-1]}\n")
    else:
        root.with_name(_NEWEST).unlink(missing_ok=True)


def remove_unfinished(place: pathlib.Path) -> list[pathlib.Path]:
    """Removes the files of a checkpoint that was not completed, as far as possible; returns their paths."""
    if (place / _NAME).exists() or not place.is_dir() or place.is_symlink():
        return []
    gone = [path for path in place.iterdir() if _is_own(path)]
    with contextlib.suppress(OSError):
        for path in gone:
            path.unlink()
        place.rmdir()
    return gone


def prune(root: pathlib.Path, num_kept: int) -> list[pathlib.Path]:
    """Removes all checkpoints but the newest `num_kept` and the one with the best evaluation; returns removed paths.

    Files that a remaining checkpoint needs stay. Files that none needs are removed too. Raises OSError.
    """
    gone = []
    manifests = list(filter(None, (_or_none(root, number) for number in numbers(root))))
    best = max((made for made in manifests if made.eval_return is not None), key=_rank, default=None)
    linked = [made for made in manifests if directory(root, made.env_steps).is_symlink()]
    kept = [*manifests[-num_kept:], *filter(None, [best]), *linked]
    needed = {root / file.path for made in kept for file in made.files}
    needed |= {location(root, made.env_steps) for made in kept}
    for place in _places(root):
        if place.is_symlink():
            continue  # the user has moved it and linked to it: it is only read
        # The manifest first: no checkpoint may lack some of its files, even for a moment.
        for path in sorted(place.iterdir(), key=lambda path: path.name != _NAME):
            if path not in needed and _is_own(path):
                path.unlink()
                gone.append(path)
        if not any(place.iterdir()):
            place.rmdir()
    return gone


def _is_own(path):
    """Returns whether a checkpoint has written a file in its directory; the user's own files are left alone."""
    return _OWN.fullmatch(path.name) is not None and (path.is_symlink() or path.is_file())


def _rank(manifest):
    """Returns the key for `max`: the return, then the later evaluation, then the checkpoint next to that evaluation."""
    return manifest.eval_return, manifest.progress.get("evaluated_env_steps") or 0, -manifest.env_steps


def _or_none(root, number):
    try:
        return read(root, number)
    except Damaged:
        return None
