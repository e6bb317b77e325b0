"""The machine's cores, memory and arithmetic. Without TensorFlow."""

import math
import os
import pathlib
import platform
import re
import resource
import sys
from collections.abc import Iterator

_ARITHMETIC = {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16"}
_MEMORY = (  # files of limit and use, and the part of the use that is only a cache; of cgroups version 2, then 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def num_cores(root: str = "/") -> int:
    """Returns the number of cores that this process may use, by its affinity and by the quota of its container.

    A part of a core counts as one. TensorFlow and ALE ignore the quota: they would start one thread for each core of
    the machine.
    """
    quotas = (_quota(group) for group in _groups(pathlib.Path(root), "cpu"))
    return max(1, min([_num_schedulable(), *(math.ceil(quota) for quota in quotas if quota)]))


def is_bounded(root: str = "/") -> bool:
    """Returns whether the quota of a container is less than the cores on which its processes may run."""
    return num_cores(root) < _num_schedulable()


def _num_schedulable():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def max_open_files() -> int:
    """Returns how many files and pipes this process may have open at once."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def _quota(group):
    """Returns the quota of a control group in cores, None if it has none."""
    try:  # version 2: "150000 100000", or "max 100000"
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        except (OSError, ValueError):
            return None
    try:
        return max(0, int(quota)) / int(period) or None  # -1: no limit
    except (ValueError, ZeroDivisionError):
        return None


def _groups(root: pathlib.Path, controller: str) -> Iterator[pathlib.Path]:
    """Yields the directories of this process's control groups and of their parents, of both versions.

    A container may see its own group as the root; so the root is always among them.
    """
    try:
        told = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        told = []
    seen, mounts = set(), root / "sys/fs/cgroup"
    for line in [*told, "0::/", f"1:{controller}:/"]:  # 4:cpu,cpuacct:/a/b, and of version 2 0::/a/b
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        inner = pathlib.PurePosixPath(*(part for part in path.split("/") if part != ".."))
        for mount in (controllers, controller) if controllers else ("", "unified"):
            for group in (inner, *inner.parents):
                if (place := mounts / mount / group) not in seen:
                    seen.add(place)
                    yield place


def available_memory(root: str = "/") -> int | None:
    """Returns the bytes that processes may still allocate, on the machine and in its container; None if unknown."""
    path = pathlib.Path(root)
    try:
        meminfo = (path / "proc/meminfo").read_text(encoding="ascii")
        sizes = [1024 * int(re.search(r"MemAvailable:\s*(\d+)", meminfo)[1])]
    except (OSError, TypeError):
        return None
    for group in _groups(path, "memory"):
        for limit, used, cached in _MEMORY:
            try:
                free = int((group / limit).read_text()) - int((group / used).read_text())
            except (OSError, ValueError):  # no such version of cgroups, or "max"
                continue
            sizes.append(free + _statistic(group / "memory.stat", cached))
    return max(0, min(sizes))


def _statistic(path, name):
    """Returns a number from a file of lines `name number`, 0 if it is missing."""
    try:
        found = re.search(rf"^{name} (\d+)$", path.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def has_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Returns whether the processor has bfloat16 arithmetic; True if unknown."""
    if platform.machine() not in ("x86_64", "AMD64", "aarch64"):
        return True
    flags = _flags(cpuinfo)
    return not flags or bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def processor(cpuinfo: str = "/proc/cpuinfo") -> str:
    """Returns the kind of processor and its features on which the order of floating-point sums depends."""
    return " ".join([platform.machine(), *sorted(_flags(cpuinfo) & _ARITHMETIC)])


def _flags(cpuinfo):
    """Returns the features of the processor, none if unknown."""
    try:
        text = pathlib.Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {flag for line in re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE) for flag in line.split()}
