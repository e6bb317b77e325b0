"""python -m dqn_tf.jobs PLATFORM [options] [flags of train.py]; see --help."""

import sys

from dqn_tf.jobs import command
from dqn_tf.process import console, startup

if __name__ == "__main__":
    startup.prepare()
    startup.use_utf8()
    console.keep_streams()
    sys.exit(command.main(sys.argv[1:]))
