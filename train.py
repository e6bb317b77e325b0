"""Trains a DQN: python train.py [flags]; see --help. The logic lives in dqn_tf, where it is tested."""

import time

STARTED = time.time()

import os  # noqa: E402 - the clock starts first
import sys  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)  # processes of environments load this file too, with a search path that is made already

from dqn_tf import startup  # noqa: E402

startup.prepare(HERE)

from dqn_tf.training.stopping import Stop  # noqa: E402

stop = Stop()
if __name__ == "__main__":  # before what takes time to import
    stop.install()

from dqn_tf import console, flags  # noqa: E402
from dqn_tf.cluster import launch  # noqa: E402
from dqn_tf.config import ConfigError  # noqa: E402
from dqn_tf.training import manifest  # noqa: E402
from dqn_tf.training import plan as plan_lib  # noqa: E402


def main(argv: list[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 143 start me again, 1 a bug."""
    startup.use_utf8()
    console.set_up()
    launch.follow_parent()
    if flags.wants_help(argv):
        return console.print_result(flags.help_text())
    try:
        plan = plan_lib.make(*flags.parse(argv), os.environ, STARTED, flags.typed(argv))
        is_finished = not plan.places.is_bucket and plan.says_finished()
        if is_finished and not (plan.is_chief and plan.places.copies):
            return 0
        with plan.locked():
            if plan.needs_launcher and not is_finished:
                return launch.run(
                    [sys.executable, *argv, f"--logdir={plan.places.run}"],
                    plan.num_workers,
                    max_restarts=plan.config.cluster.max_restarts,
                    restart_arguments=["--resume=auto"],
                    progress=lambda: manifest.newest(plan.directory.checkpoints),
                    lock=plan.directory.lock,
                )
            os.environ.update(plan.variables(os.environ))
            startup.load_keras()
            from dqn_tf.training import run

            return run.evaluate(plan) if plan.is_evaluator else run.train(plan, stop)
    except ConfigError as error:
        print(error, file=sys.stderr)
        console.tell_platform(str(error), os.environ)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
