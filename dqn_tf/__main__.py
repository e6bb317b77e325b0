"""python -m dqn_tf [flags]: the same as python train.py; see --help."""

import sys

from dqn_tf import cli

if __name__ == "__main__":
    sys.exit(cli.main())
