"""The GPUs that are visible, without CUDA, which takes seconds to start, and after which a process cannot fork."""

import os
import pathlib
import re
from collections.abc import Mapping

_DIRECTORY = "/proc/driver/nvidia/gpus"
_ORDINAL = re.compile(r"\+?([0-9]+)")  # as C's strtoul reads it: "1x" is 1
_XLA_REPEATS = "--xla_gpu_deterministic_ops=true"
_UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)


def visible_gpus(environ: Mapping[str, str], directory: str = _DIRECTORY) -> list[str]:
    """Returns the ids of the GPUs that CUDA programs may use.

    CUDA reads CUDA_VISIBLE_DEVICES up to the first entry that names no GPU; if a GPU is named twice, it sees none.
    Entries are numbers, or prefixes of GPU uuids, or names of MIG instances; all are of the kind of the first entry.
    Source: _parse_visible_devices of torch.cuda does the same.

    Args:
      environ: environment variables.
      directory: here the NVIDIA driver has one entry for each GPU; if it is missing, any number may be a GPU.
    """
    uuids = _installed(directory)
    text = environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return [str(i) for i in range(len(uuids))]
    entries = [entry.strip() for entry in text.split(",")]
    prefix = next((prefix for prefix in ("GPU-", "MIG-") if entries[0].startswith(prefix)), "")
    found: dict[str, str] = {}  # id by GPU
    for entry in entries:
        gpu = _named(entry, prefix, uuids)
        if gpu is None:
            break
        if gpu in found:
            return []
        found[gpu] = entry if prefix else gpu
    return list(found.values())


def _named(entry, prefix, uuids):
    """Returns the GPU or MIG instance that an entry names, None if it names none."""
    if not prefix:
        match = _ORDINAL.match(entry)
        number = int(match[1][:9]) if match else -1
        return str(number) if 0 <= number < (len(uuids) or number + 1) else None
    if not entry.startswith(prefix):
        return None
    if prefix == "MIG-" or not all(uuids):
        return entry
    matches = [uuid for uuid in uuids if uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None if uuids else entry


def _installed(directory):
    """Returns the uuid of each GPU, "" if the driver does not tell it."""
    try:
        places = sorted(os.listdir(directory))
    except OSError:
        return []
    uuids = []
    for place in places:
        try:
            text = pathlib.Path(directory, place, "information").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        match = _UUID.search(text)
        uuids.append(match[1] if match else "")
    return uuids


def deterministic(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment variables by which XLA and cuDNN repeat themselves, those that are not set so."""
    variables = {}
    if _XLA_REPEATS not in environ.get("XLA_FLAGS", "").split():
        variables["XLA_FLAGS"] = f"{environ.get('XLA_FLAGS', '')} {_XLA_REPEATS}".strip()
    if environ.get("TF_CUDNN_DETERMINISTIC") not in ("1", "true"):
        variables["TF_CUDNN_DETERMINISTIC"] = "1"
    return variables
