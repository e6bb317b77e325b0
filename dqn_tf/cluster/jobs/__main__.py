"""python -m dqn_tf.cluster.jobs PLATFORM [options] [flags of train.py]; see --help."""

import os
import signal
import sys

from dqn_tf.cluster.jobs import command

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # --help | head
    sys.path.append(os.getcwd())
    sys.exit(command.main(sys.argv[1:]))
