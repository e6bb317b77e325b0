"""How TensorFlow rounds and repeats itself is what --precision and --deterministic ask for, or is refused."""

import logging

import pytest
import tensorflow as tf

from dqn_tf.config.schema import Hardware
from dqn_tf.distribution import arithmetic
from dqn_tf.process import gpus


@pytest.fixture
def set_up(monkeypatch):
    """Returns a function that sets up such GPUs, by compute capability; what TensorFlow was told is in its `told`."""
    told = {}

    def set_up(capabilities=(), processor_has_bfloat16=False, **values):
        details = [{} if one is None else {"compute_capability": one} for one in capabilities]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(len(details))))
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu])
        arithmetic.set_up(Hardware(**values))
        return arithmetic.problem(Hardware(**values), processor_has_bfloat16)

    experimental = tf.config.experimental
    monkeypatch.setattr(experimental, "enable_tensor_float_32_execution", lambda is_on: told.update(tf32=is_on))
    monkeypatch.setattr(experimental, "enable_op_determinism", lambda: told.update(deterministic=True))
    monkeypatch.setattr(experimental, "tensor_float_32_execution_enabled", lambda: told.get("tf32", True))
    monkeypatch.setattr(arithmetic, "_rounded_before", [])
    monkeypatch.setattr(arithmetic, "_is_deterministic", [])
    set_up.told = told
    return set_up


@pytest.mark.parametrize(
    ("precision", "capabilities", "processor_has"),
    [
        ("bfloat16", [], True),
        ("bfloat16", [(8, 0), (9, 0)], False),
        ("bfloat16", [None], False),  # a device that does not say
        ("tf32", [(9, 0)], False),
        ("float32", [(7, 5)], False),
        ("auto", [], False),
    ],
)
def test_precision_is_accepted_where_gpus_or_else_the_processor_have_it(set_up, precision, capabilities, processor_has):
    assert set_up(capabilities, processor_has, precision=precision) == ""
    assert set_up.told == {"tf32": {"tf32": True}, "float32": {"tf32": False}}.get(precision, {})


@pytest.mark.parametrize(
    ("precision", "capabilities", "processor_has"),
    [("bfloat16", [], False), ("bfloat16", [(8, 0), (7, 5)], True), ("tf32", [], True), ("tf32", [(7, 5)], True)],
)
def test_precision_that_a_device_lacks_is_refused(set_up, precision, capabilities, processor_has):
    line = set_up(capabilities, processor_has, precision=precision)
    assert line.startswith(f"--precision={precision}: this device has no") and "\n" not in line


def test_precision_of_one_run_is_not_that_of_the_next_in_a_process(set_up):
    for precision, rounds in (("float32", False), ("auto", True), ("tf32", True), ("auto", True)):
        set_up([(9, 0)], precision=precision)
        assert set_up.told == {"tf32": rounds}


@pytest.mark.parametrize(
    ("capabilities", "is_set", "line"),
    [
        ([], False, "deterministic: no GPU"),
        ([(9, 0)], True, "deterministic: the GPU repeats itself"),
        ([(9, 0)], False, "deterministic: not all, because XLA and cuDNN read XLA_FLAGS=--xla_gpu"),
    ],
)
def test_deterministic_is_told_to_tensorflow_and_says_what_is_missing(
    set_up, monkeypatch, caplog, capabilities, is_set, line
):
    caplog.set_level(logging.INFO)
    for name, value in (gpus.deterministic({}) if is_set else {}).items():
        monkeypatch.setenv(name, value)
    set_up(capabilities, deterministic=True)
    assert set_up.told["deterministic"]
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(line)


def test_deterministic_that_a_run_before_asked_for_is_told(set_up, caplog):
    set_up([(9, 0)], deterministic=True)
    caplog.clear()
    set_up([(9, 0)])
    assert [line[:20] for line in caplog.messages] == ["deterministic: still"]


def test_device_says_how_a_gpu_rounds(set_up):
    set_up([])
    assert arithmetic.device() == "CPU"
    set_up([(9, 0)], precision="tf32")
    assert arithmetic.device() == "GPU with TF32"
    set_up([(9, 0)], precision="float32")
    assert arithmetic.device() == "GPU"
    set_up([(7, 5)])
    assert arithmetic.device() == "GPU"
