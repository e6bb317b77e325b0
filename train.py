"""Trains a DQN: python train.py [flags]; see --help. The logic lives in dqn_tf, where it is tested."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # the package beside it goes before one installed

from dqn_tf import cli  # noqa: E402

if __name__ == "__main__":
    sys.exit(cli.main())
