"""train.py, with the CPU as the device that keeps the images of the replay."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as a run of images sets it, before TensorFlow is imported

from dqn_tf import cli  # noqa: E402
from dqn_tf.distribution import strategy  # noqa: E402

strategy.Placement.gpus = property(lambda self: ["CPU:0"])
strategy.free_memory = lambda device: None

if __name__ == "__main__":
    sys.exit(cli.main())
