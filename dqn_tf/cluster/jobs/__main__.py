"""python -m dqn_tf.cluster.jobs PLATFORM [options] [flags of train.py]; see --help."""

import sys

from dqn_tf import console, startup
from dqn_tf.cluster.jobs import command

if __name__ == "__main__":
    startup.prepare()
    startup.use_utf8()
    console.keep_streams()
    sys.exit(command.main(sys.argv[1:]))
