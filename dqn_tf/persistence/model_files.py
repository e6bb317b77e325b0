"""Reads a model that tf.train.Checkpoint has written, from a directory of any name."""

import contextlib
import pathlib
import re
from typing import Any

import tensorflow as tf

from dqn_tf.persistence.manifest import Manifest

_MEMORY = "ram:///model"  # a file system of TensorFlow's own, of this process
_PATTERN = re.compile(r"[*?[\\]")


def read(checkpoint: tf.train.Checkpoint, root: pathlib.Path, made: Manifest) -> Any:
    """Restores the objects of `checkpoint` from a run's checkpoint and returns TensorFlow's status.

    TensorFlow takes a path for a pattern, and finds nothing in the directory `lr=[1e-3]`
    (https://github.com/tensorflow/tensorflow/issues/34290). In such a case it reads a copy with a plain name.

    Args:
      root: the directory of all checkpoints.
    Raises:
      tf.errors.OpError: the files cannot be read.
      AssertionError, ValueError, TypeError, LookupError: they are of another model.
    """
    prefix = root / made.model_prefix
    if not _PATTERN.search(str(prefix)):
        return checkpoint.read(str(prefix))
    with contextlib.ExitStack() as stack:
        for file in made.model:
            copy = f"{_MEMORY}/{pathlib.PurePosixPath(file.path).name}"
            tf.io.gfile.copy(str(root / file.path), copy, overwrite=True)
            stack.callback(tf.io.gfile.remove, copy)
        return checkpoint.read(f"{_MEMORY}/{prefix.name}")
