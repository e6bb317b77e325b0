"""The command: `python train.py`, `python -m dqn_tf` and `dqn-tf` are the same. Argv in, exit code out."""

import time

STARTED = time.time()

import os  # noqa: E402 - the clock starts first
import sys  # noqa: E402

from dqn_tf.process import startup  # noqa: E402

# Processes of environments import this module too, because their main module does.
startup.prepare(os.path.dirname(os.path.abspath(sys.argv[0])))

from dqn_tf.process.stopping import SignalStop  # noqa: E402

_GIL_SWITCH_SECONDS = 0.0005
stop = SignalStop()


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 143 start me again, 1 a bug.

    Args:
      argv: the program and its flags; None: those of this process.
    """
    stop.install()  # before what takes time to import
    from dqn_tf.cluster import launcher
    from dqn_tf.config import flags
    from dqn_tf.config.schema import ConfigError
    from dqn_tf.persistence import manifest
    from dqn_tf.process import console, gpus
    from dqn_tf.training import plan as plan_lib

    argv = sys.argv if argv is None else argv
    startup.use_utf8()
    console.set_up()
    launcher.follow_parent()
    if flags.wants_help(argv):
        return console.print_result(flags.help_text())
    try:
        given = flags.parse(argv, has_gpu=bool(gpus.visible_gpus(os.environ)))
        plan = plan_lib.make(*given, os.environ, STARTED, flags.typed(argv))
        is_finished = not plan.locations.is_bucket and plan.says_finished()
        if is_finished and not (plan.is_chief and plan.locations.copies):
            return 0
        with plan.locked():
            if plan.needs_launcher and not is_finished:
                return launcher.run(
                    [*_program(argv[0]), *argv[1:], f"--logdir={plan.locations.run}"],
                    plan.num_workers,
                    max_restarts=plan.config.cluster.max_restarts,
                    restart_arguments=["--resume=auto"],
                    progress=lambda: manifest.newest(plan.directory.checkpoints),
                    lock=plan.directory.lock,
                )
            os.environ.update(plan.variables(os.environ))
            startup.load_keras()
            return _train_or_evaluate(plan)
    except ConfigError as error:
        print(error, file=sys.stderr)
        console.tell_platform(str(error), os.environ)
        return 2


def _train_or_evaluate(plan):
    from dqn_tf.cluster.process_guard import ProcessGuard
    from dqn_tf.training import outcome, run

    sys.setswitchinterval(_GIL_SWITCH_SECONDS)  # the learner's thread gets the lock back sooner
    try:
        if plan.is_evaluator:
            return run.evaluate(plan)
        run.train(plan, stop, guard=ProcessGuard())
    except outcome.EXPECTED as error:
        return outcome.exit_code(error)
    return 0


def _program(path):
    """Returns the words that start this command again; of `python -m dqn_tf` Python tells the path of __main__.py."""
    is_module = os.path.abspath(path) == os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    return [sys.executable, "-m", "dqn_tf"] if is_module else [sys.executable, path]
