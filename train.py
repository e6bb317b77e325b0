"""Trains a DQN: python train.py [flags]; see --help. The logic lives in dqn_tf, where it is tested."""

import time

STARTED = time.time()

import os  # noqa: E402 - the clock starts first
import signal  # noqa: E402
import sys  # noqa: E402

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes on absent GPUs
sys.path.append(os.getcwd())  # --env=module:EnvId finds modules here, wherever train.py is
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # acting shares the cores with the learner

from dqn_tf import console, flags  # noqa: E402
from dqn_tf.cluster import launch  # noqa: E402
from dqn_tf.config import ConfigError  # noqa: E402
from dqn_tf.training import manifest  # noqa: E402
from dqn_tf.training import plan as plan_lib  # noqa: E402


def main(argv: list[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 143 start me again, 1 a bug."""
    launch.follow_parent()
    if os.getpid() == 1:  # of a container, where a signal that has no handler is lost
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    console.set_up()
    if flags.wants_help(argv):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # --help | head
        print(flags.help_text())
        return 0
    try:
        plan = plan_lib.make(*flags.parse(argv), os.environ, STARTED)
        if not plan.places.is_bucket and plan.says_finished():
            return 0
        if plan.needs_launcher:
            return launch.run(
                [sys.executable, *argv, f"--logdir={plan.places.run}"],
                plan.num_workers,
                max_restarts=plan.config.cluster.max_restarts,
                restart_arguments=["--resume=auto"],
                progress=lambda: manifest.newest(plan.directory.checkpoints),
            )
        with plan.locked():
            os.environ.update(plan.variables(os.environ))
            with console.without_gpu_notes():
                from dqn_tf.training import run  # TensorFlow is imported here

            return run.evaluate(plan) if plan.is_evaluator else run.train(plan)
    except KeyboardInterrupt:
        print("interrupted; the same command with the same --logdir goes on from its last checkpoint", file=sys.stderr)
        return 130
    except ConfigError as error:
        print(error, file=sys.stderr)
        console.tell_platform(str(error), os.environ)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
