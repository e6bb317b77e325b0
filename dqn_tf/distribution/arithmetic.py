"""How TensorFlow rounds, and whether a GPU repeats itself, in this process."""

import logging
import os

import tensorflow as tf

from dqn_tf.config.schema import Hardware
from dqn_tf.process import gpus

_log = logging.getLogger(__name__)

_rounded_before: list[bool] = []  # to TF32, before a run that said how
_is_deterministic: list[bool] = []
_AMPERE = (8, 0)  # compute capability of the first GPUs with bfloat16 and TF32


def problem(hardware: Hardware, processor_has_bfloat16: bool) -> str:
    """Returns the line of a --precision that this machine lacks, empty if it has it."""
    precision, found = hardware.precision, tf.config.list_physical_devices("GPU")
    if precision == "bfloat16" and not (all(map(_is_ampere, found)) if found else processor_has_bfloat16):
        return "--precision=bfloat16: this device has no bfloat16 arithmetic; use --precision=float32."
    if precision == "tf32" and not (found and all(map(_is_ampere, found))):
        return "--precision=tf32: this device has no TF32 arithmetic; use --precision=float32."
    return ""


def set_up(hardware: Hardware) -> None:
    """Tells TensorFlow what --precision and --deterministic ask for, before it is used.

    The latter stays for the rest of the process: TensorFlow has no way back.
    """
    found = tf.config.list_physical_devices("GPU")
    rounds = {"float32": False, "tf32": True}.get(hardware.precision)
    if rounds is not None:
        _rounded_before.append(tf.config.experimental.tensor_float_32_execution_enabled())
    elif _rounded_before:  # a run before has changed it
        rounds = _rounded_before[0]
        _rounded_before.clear()
    if rounds is not None:
        tf.config.experimental.enable_tensor_float_32_execution(rounds)
    if not hardware.deterministic:
        if _is_deterministic and found:
            _log.warning("deterministic: still, because a run before in this process was; give --replay_device=host")
        return
    _is_deterministic.append(True)
    tf.config.experimental.enable_op_determinism()
    missing = [f"{name}={value}" for name, value in gpus.deterministic(os.environ).items()]
    if found and missing:  # a library does not set them
        told = " ".join(missing)
        _log.warning("deterministic: not all, because XLA and cuDNN read %s before TensorFlow starts", told)
    elif not found:
        _log.info("deterministic: no GPU; a CPU repeats itself without --deterministic")
    else:
        _log.info("deterministic: the GPU repeats itself, because --deterministic asks for it")


def device() -> str:
    """Returns in words what computes, as far as the bits of a result depend on it: CPU, or a GPU and how it rounds."""
    names = []
    for gpu in tf.config.list_physical_devices("GPU"):
        is_rounded = _is_ampere(gpu) and tf.config.experimental.tensor_float_32_execution_enabled()
        names.append(_details(gpu).get("device_name", "GPU") + (" with TF32" if is_rounded else ""))
    return ", ".join(dict.fromkeys(names)) or "CPU"


def _is_ampere(gpu):
    return _details(gpu).get("compute_capability", _AMPERE) >= _AMPERE


def _details(gpu):
    return tf.config.experimental.get_device_details(gpu)
