"""python -m dqn_tf.cluster.jobs PLATFORM [options] [flags of train.py]; see --help."""

import signal
import sys

from dqn_tf import startup
from dqn_tf.cluster.jobs import command

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # --help | head
    startup.prepare()
    startup.use_utf8()
    sys.exit(command.main(sys.argv[1:]))
