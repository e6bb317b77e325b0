"""Reads a model that tf.train.Checkpoint has written, whatever its directory is called."""

import contextlib
import pathlib
import re

import tensorflow as tf

from dqn_tf.persistence.manifest import Manifest

_MEMORY = "ram:///model"  # a file system of TensorFlow's own, of this process
_PATTERN = re.compile(r"[*?[\\]")


def read(checkpoint: tf.train.Checkpoint, root: pathlib.Path, made: Manifest):
    """Returns the status of `checkpoint`, whose objects are now as a checkpoint of a run has them.

    TensorFlow takes a path for a pattern, and finds nothing in `lr=[1e-3]`
    (https://github.com/tensorflow/tensorflow/issues/34290). From there it reads a copy under a plain name.

    Args:
      root: the directory of all checkpoints.
    Raises:
      tf.errors.OpError: it cannot be read.
      AssertionError, ValueError, TypeError, LookupError: it is another model's.
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
