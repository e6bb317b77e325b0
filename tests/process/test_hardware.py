"""What a machine has, read from files made for the purpose."""

import os
import platform

import pytest

from dqn_tf.process import hardware

GIB = 2**30
UNLIMITED = "9223372036854771712\n"  # what version 1 of cgroups writes where there is no limit
V2 = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current")
V1 = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes")


@pytest.fixture
def machine(tmp_path):
    """Returns a function that writes files of a machine, by path, and returns its root."""

    def write(files, available=f"MemAvailable: {8 * GIB // 1024} kB"):
        files = {"proc/meminfo": f"MemTotal: 999 kB\nMemFree: 1 kB\n{available}\nBuffers: 7 kB\n", **files}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path)

    return write


NESTED = {"proc/self/cgroup": "5:cpu,cpuacct:/job/step\n4:memory:/job/step\n1:name=systemd:/other\n0::/job/step\n"}


def limit(names, allowed, used):
    return dict(zip(names, (f"{allowed}\n", f"{used}\n"), strict=True))


def test_available_memory_of_a_machine_is_what_it_has_available(machine):
    assert hardware.available_memory(machine({})) == 8 * GIB


@pytest.mark.parametrize("version", [V2, V1])
def test_available_memory_in_a_container_is_what_is_left_of_its_limit(machine, version):
    assert hardware.available_memory(machine(limit(version, 4 * GIB, GIB))) == 3 * GIB


@pytest.mark.parametrize("version", [V2, V1])
def test_available_memory_where_the_limit_is_larger_than_the_machine_is_the_machines(machine, version):
    assert hardware.available_memory(machine(limit(version, 64 * GIB, GIB))) == 8 * GIB


@pytest.mark.parametrize("files", [limit(V2, "max", GIB), limit(V1, UNLIMITED.strip(), GIB), {V2[0]: "4096\n"}])
def test_available_memory_without_a_limit_that_can_be_read_is_the_machines(machine, files):
    assert hardware.available_memory(machine(files)) == 8 * GIB


def test_available_memory_where_both_versions_have_limits_is_the_least(machine):
    assert hardware.available_memory(machine(limit(V2, 4 * GIB, GIB) | limit(V1, 5 * GIB, 3 * GIB))) == 2 * GIB


@pytest.mark.parametrize(
    "group", ["sys/fs/cgroup/job/step", "sys/fs/cgroup/unified/job"]
)
def test_available_memory_of_a_group_in_a_group_is_the_least_of_all(machine, group):
    files = NESTED | limit((f"{group}/memory.max", f"{group}/memory.current"), 2 * GIB, GIB)
    assert hardware.available_memory(machine(files | limit(V1, 4 * GIB, GIB))) == GIB


def test_available_memory_where_more_is_used_than_allowed_is_0(machine):
    assert hardware.available_memory(machine(limit(V2, GIB, 2 * GIB))) == 0


def test_available_memory_that_is_not_told_is_not_known(machine, tmp_path):
    assert hardware.available_memory(str(tmp_path / "nothing")) is None
    assert hardware.available_memory(machine({}, available="")) is None


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="reads /proc")
def test_available_memory_here_is_a_plausible_number():
    assert 10**7 < hardware.available_memory() < 10**14


@pytest.mark.parametrize(
    "machine_name, text, expected",
    [
        ("x86_64", "processor: 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("aarch64", "Features\t: fp asimd bf16 i8mm\n", True),
        ("x86_64", "flags : fpu avx512f\nflags : fpu avx512f\n", False),
        ("x86_64", "flags : fpu\nbugs : avx512_bf16\nvmx flags : amx_bf16\n", False),
        ("x86_64", "flags : not_bf16 bf16x avx512_bf16_not\n", False),
        ("x86_64", "model name : of a processor that tells no flags\n", True),
        ("riscv64", "flags : fpu\n", True),
    ],
)
def test_has_bfloat16_where_the_processor_says_so_or_nothing(monkeypatch, tmp_path, machine_name, text, expected):
    monkeypatch.setattr(platform, "machine", lambda: machine_name)
    (tmp_path / "cpuinfo").write_text(text)
    assert hardware.has_bfloat16(str(tmp_path / "cpuinfo")) is expected


def test_has_bfloat16_without_a_file_to_read_is_true(tmp_path):
    assert hardware.has_bfloat16(str(tmp_path / "none")) is True


def test_num_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert hardware.num_cores("/nowhere") == 3


@pytest.mark.parametrize("count, expected", [(6, 6), (None, 1)])
def test_num_cores_where_the_system_tells_no_affinity_are_those_of_the_machine(monkeypatch, count, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert hardware.num_cores("/nowhere") == expected


CPU = "sys/fs/cgroup"


def v1(folder, quota, period=100_000):
    names = (f"{CPU}/{folder}/cpu.cfs_quota_us", f"{CPU}/{folder}/cpu.cfs_period_us")
    return dict(zip(names, (f"{quota}\n", f"{period}\n"), strict=True))


@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, 8),
        ({f"{CPU}/cpu.max": "max 100000\n"}, 8),
        ({f"{CPU}/cpu.max": "150000 100000\n"}, 2),  # a part of a core is one
        ({f"{CPU}/cpu.max": "nonsense\n"}, 8),
        (v1("cpu", 50_000, 25_000), 2),
        (v1("cpu,cpuacct", 300_000), 8),  # nobody says that there is a group
        # Groups in groups: the least of all counts.
        (NESTED | {f"{CPU}/job/step/cpu.max": "max 100000\n", f"{CPU}/job/cpu.max": "400000 100000\n"}, 4),
        (NESTED | {f"{CPU}/job/step/cpu.max": "300000 100000\n", f"{CPU}/job/cpu.max": "400000 100000\n"}, 3),
        (NESTED | v1("cpu,cpuacct/job/step", 250_000), 3),
        (NESTED | {f"{CPU}/other/cpu.max": "100000 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/../..\n", f"{CPU}/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "\n:\nnothing\n", f"{CPU}/cpu.max": "300000 100000\n"}, 3),
    ],
)
def test_num_cores_in_a_container_are_no_more_than_its_quota(machine, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    root = machine(files)
    assert hardware.num_cores(root) == expected
    assert hardware.is_bounded(root) == (expected < 8)
