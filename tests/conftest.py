"""What all tests share: quiet, repeatable numerics, four logical CPUs, and `--soak`."""

import os
import signal
import sys

# A shell has commands in the background ignore SIGINT, and nohup SIGHUP; processes of tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Before numpy and TensorFlow are imported, which read them once.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["KERAS_BACKEND"] = "tensorflow"

import pytest


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the tests marked soak too; they take minutes")
    parser.addoption("--kills", type=int, default=7, help="how often a run that is killed at random moments is")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--soak"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="soak test; give --soak to run it"))


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
