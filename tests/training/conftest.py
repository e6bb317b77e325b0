"""Runs in the test's own process: a start of TensorFlow for each would take seconds."""

import logging
import sys
import time

import pytest
import tensorflow as tf

from dqn_tf.config import flags
from dqn_tf.distribution import strategy
from dqn_tf.process import signals, stopping
from dqn_tf.training import plan, run
from tests import runs


@pytest.fixture(scope="session")
def placement(logical_cpus):
    """Returns the Placement of --strategy=default; strategy.create may be called only once in a process."""
    return strategy.Placement(tf.distribute.get_strategy(), 1, 0, 1)


@pytest.fixture(scope="session")
def train(placement):
    """Returns a function that trains as runs.SMALL and `argv` say, and returns the run's directory."""

    def train(logdir, *argv, code=0):
        made = plan.make(*flags.parse(["train.py", *runs.SMALL, f"--logdir={logdir}", *argv]), {}, time.time())
        with pytest.MonkeyPatch.context() as patch, made.locked():
            patch.setattr(strategy, "create", lambda *arguments: placement)
            assert run.train(made, stopping.Stop()) == code
        return logdir

    # A run sets these for its process.
    switch_interval = sys.getswitchinterval()
    handlers = signals.handlers()
    yield train
    sys.setswitchinterval(switch_interval)
    signals.give_back(handlers)


@pytest.fixture(scope="session")
def without_tensorflow(tmp_path_factory):
    return runs.without_tensorflow(tmp_path_factory.mktemp("without_tensorflow") / "modules")


@pytest.fixture
def warnings(monkeypatch, caplog):
    """Returns a function that returns the program's warnings so far."""
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("dqn_tf.training")]
