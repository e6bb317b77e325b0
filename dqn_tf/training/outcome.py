"""How a command ends that could not do what it was asked: one line in the log, and an exit code."""

import logging
import sys

from dqn_tf.config.user_code import UserCodeFailure
from dqn_tf.environment.spec import EnvironmentLost
from dqn_tf.persistence.mirror import Taken, Unreachable
from dqn_tf.process.exit_codes import EXIT_AGAIN
from dqn_tf.process.stopping import Stopped
from dqn_tf.training.loop import NotSaved
from dqn_tf.training.run import WorkerLost

_log = logging.getLogger(__name__)

EXPECTED = (UserCodeFailure, EnvironmentLost, NotSaved, Unreachable, Taken, Stopped, WorkerLost)


def exit_code(error: Exception) -> int:
    """Returns the exit code of a command that ends with one of EXPECTED, having said why."""
    if isinstance(error, Stopped):  # which has been said
        return error.exit_code
    if isinstance(error, UserCodeFailure):
        _log.error("%s", error)
        sys.stderr.write(error.trace)
        return 1
    if isinstance(error, EnvironmentLost | WorkerLost):
        _log.error("%s: leaving with exit code %d", error, EXIT_AGAIN)
        return EXIT_AGAIN
    if isinstance(error, Unreachable):
        _log.error("leaving with exit code %d: %s: %s", EXIT_AGAIN, error.filename, error.strerror)
        return EXIT_AGAIN
    what = "the run cannot be written: " if isinstance(error, NotSaved) else ""
    _log.error("%s%s", what, error)
    return 1  # neither to be started again, nor a mistake for which a platform should end others too
