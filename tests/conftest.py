"""What all tests share: quiet, repeatable numerics, four logical CPUs, `--all`, and runs in the test's own process."""

import logging
import os
import signal
import sys
import time

# A shell has commands in the background ignore SIGINT, and nohup SIGHUP; processes of tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Before numpy and TensorFlow are imported, which read them once.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["KERAS_BACKEND"] = "tensorflow"

import pytest

# Those that take longest, to begin with: two processes share the files.
FIRST = ("test_learning.py", "test_command_line.py", "test_resume.py", "test_parity.py", "test_dockerfile.py")


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the tests marked thorough too; they take half an hour")
    parser.addoption("--soak", action="store_true", help="run the tests marked soak too; they take minutes each")
    parser.addoption("--kills", type=int, default=7, help="how often a run that is killed at random moments is")


def pytest_collection_modifyitems(config, items):
    options = {"thorough": "--all", "soak": "--soak"}
    left_out = [marker for marker, option in options.items() if not config.getoption(option)]
    chosen = [item for item in items if not any(map(item.get_closest_marker, left_out))]
    config.hook.pytest_deselected(items=list(set(items) - set(chosen)))
    items[:] = sorted(chosen, key=lambda item: item.path.name not in FIRST)


@pytest.fixture(scope="session")
def logical_cpus():
    """Returns the names of four logical CPUs. TensorFlow can be told so once, before its first operation.

    GPUs are hidden: these tests compare CPU arithmetic.
    """
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    return [device.name for device in tf.config.list_logical_devices("CPU")]


@pytest.fixture(scope="session", autouse=True)
def _logical_cpus_first(request):
    """Makes the logical CPUs before any test, where a test module has imported TensorFlow."""
    if "tensorflow" in sys.modules:
        request.getfixturevalue("logical_cpus")


@pytest.fixture(scope="session")
def placement(logical_cpus):
    """Returns the Placement of --strategy=default; strategy.create may be called only once in a process."""
    from tests import placements

    return placements.one_replica()


@pytest.fixture(scope="session")
def train(placement):
    """Returns a function that trains as runs.SMALL and `argv` say, and returns the run's directory.

    In this process: a start of TensorFlow for each would take seconds. `code` is the exit code of a command.
    """
    from dqn_tf.config import flags
    from dqn_tf.distribution import strategy
    from dqn_tf.process import signals, stopping
    from dqn_tf.training import outcome, plan, run
    from tests import runs

    def train(logdir, *argv, code=0):
        made = plan.make(*flags.parse(["train.py", *runs.SMALL, f"--logdir={logdir}", *argv]), {}, time.time())
        with pytest.MonkeyPatch.context() as patch, made.locked():
            patch.setattr(strategy, "create", lambda *arguments: placement)
            try:
                run.train(made, stopping.SignalStop())
                found = 0
            except outcome.EXPECTED as error:
                found = outcome.exit_code(error)
            assert found == code
        return logdir

    # A run sets these for its process.
    switch_interval = sys.getswitchinterval()
    handlers = signals.handlers()
    yield train
    sys.setswitchinterval(switch_interval)
    signals.give_back(handlers)


@pytest.fixture(scope="session")
def without_tensorflow(tmp_path_factory):
    """Returns a directory for PYTHONPATH with which a process that imports TensorFlow leaves with code 99."""
    from tests import runs

    return runs.without_tensorflow(tmp_path_factory.mktemp("without_tensorflow") / "modules")


@pytest.fixture
def warnings(monkeypatch, caplog):
    """Returns a function that returns the program's warnings so far."""
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("dqn_tf") and record.levelno >= logging.WARNING
    ]
