"""The model's files of a finished run, as summary.json describes them. Without TensorFlow."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from dqn_tf.persistence import archive
from dqn_tf.persistence.archive import Damaged, File

MODEL = "model"
_PLACE = re.compile(rf"{MODEL}/(?!.*\.\.)[\w./-]+", re.ASCII)


def describe(directory: pathlib.Path) -> list[dict[str, Any]]:
    """Returns size and SHA-256 of the model's files in a run's directory, for summary.json. Raises OSError."""
    found = sorted(path for path in (directory / MODEL).rglob("*") if path.is_file())
    return [dataclasses.asdict(archive.describe(directory, path)) for path in found]


def check(directory: pathlib.Path, summary: Mapping[str, Any]) -> None:
    """Raises Damaged if the model has changed since summary.json was written."""
    described = summary.get("files")
    if not isinstance(described, list) or not described:
        raise Damaged(f"{directory / 'summary.json'} does not say what belongs to the model")
    for entry in described:
        try:
            file = File(entry["path"], entry["size"], entry["sha256"])
            is_own = _PLACE.fullmatch(file.path)
        except (LookupError, TypeError):
            is_own = False
        if not is_own:
            raise Damaged(f"{directory / 'summary.json'} names files that are none of the model")
        archive.check(directory, file)
