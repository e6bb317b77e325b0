"""The contest: rows that are measured in processes of their own, and what is written of them."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shlex
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable

import make_venvs
import ours

SHOWN = {
    "cartpole": ("env steps/s",),
    "rlzoo": ("command s", "training s"),
    "pong": ("env steps/s",),
    "replay": ("bytes", "bytes with optimize_memory_usage"),
    "two_workers": ("ms an update", "samples/s"),
}


class Failed(Exception):
    """A measurement gave no figures; the message is the last line that it wrote."""


@dataclasses.dataclass
class Contender:
    """One row of a table.

    Attributes:
      reference: the contender of the same task that its ratio is taken to.
      command: from a directory of its own to program and arguments.
      runs: the figures of each repeat.
      failures: the last line of each repeat that failed.
      commands: as they were run.
    """

    task: str
    name: str
    venv: str
    reference: str
    command: Callable[[pathlib.Path], list[str]]
    runs: list[dict[str, float]] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    commands: list[str] = dataclasses.field(default_factory=list)

    def median(self, figure: str) -> float | None:
        values = [run[figure] for run in self.runs if figure in run]
        return statistics.median(values) if values else None


def measure(contender: Contender, timeout: float, on_gpu: bool = False) -> None:
    """Adds one run to the contender, or its failure. It sees no GPU unless it is `on_gpu`."""
    with tempfile.TemporaryDirectory() as directory:
        command = contender.command(pathlib.Path(directory))
        contender.commands.append(shlex.join(command))
        try:
            begin = time.perf_counter()
            output = _run(command, directory, timeout, on_gpu)
            seconds = time.perf_counter() - begin
            if pathlib.Path(command[1]).name == "train.py":
                figures = ours.figures(pathlib.Path(directory, "run"))
            else:
                line = output[output.rindex("{") :]
                figures = json.loads(line[: line.index("}") + 1])
            contender.runs.append({**figures, "command s": seconds})
        except Failed as error:
            contender.failures.append(str(error))
        except (OSError, ValueError, LookupError) as error:  # no figures where they were expected
            contender.failures.append(f"{type(error).__name__}: {error}")


def _run(command, directory, timeout, on_gpu=False):
    """Returns what a command writes. It leads a session of its own, of which nothing is left afterwards."""
    environment = {name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "PYTHONPATH")}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", **({} if on_gpu else {"CUDA_VISIBLE_DEVICES": "-1"})}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, cwd=directory, env=environment, text=True, start_new_session=True, **pipes
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {timeout:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        lines = [line for line in (output + errors).splitlines() if line.strip()]
        raise Failed(lines[-1].strip() if lines else f"exit code {process.returncode}")
    return output


def table(task: str, rows: list[Contender]) -> str:
    """Returns the Markdown tables of a task."""
    lines = []
    for figure in SHOWN[task]:
        head = [f"\n| {task}: {figure} | median | range | times {_reference(task)} |", "|---|---|---|---|"]
        body = []
        for row in rows:
            values = [run[figure] for run in row.runs if figure in run]
            if values:
                span = f"{_number(min(values))} to {_number(max(values))}"
                ratio = ratio_to_reference(row, rows, figure)
                cells = _number(row.median(figure)), span, "" if ratio is None else f"{ratio:.3g}"
                name = f"{row.name} ({len(row.failures)} failed)" if row.failures else row.name
                body.append(f"| {name} | {' | '.join(cells)} |")
            elif row.failures and figure == SHOWN[task][0]:
                body.append(f"| {row.name} | failed: {row.failures[-1].replace('|', '/')} | | |")
        lines += head + body if body else []
    return "\n".join(lines)


def _reference(task):
    return "one worker" if task == "two_workers" else "ours"


def _number(value):
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def ratio_to_reference(row: Contender, rows: list[Contender], figure: str) -> float | None:
    """Returns the row's median over the reference's; of `replay` all figures are over the one of ours."""
    shown = SHOWN[row.task][0] if row.task == "replay" else figure
    reference = next((other.median(shown) for other in rows if other.name == row.reference), None)
    mine = row.median(figure)
    return mine / reference if mine is not None and reference else None


def machine() -> dict:
    """Returns what the figures depend on but for packages."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    return {"cpu": cpu.group(1) if cpu else "", "cores": os.cpu_count(), "usable_cores": cores}


def packages(venvs: pathlib.Path, name: str) -> dict[str, str]:
    """Returns the versions of all packages in a virtual environment, and of Python."""
    code = "import importlib.metadata as m, json, platform as p; d = {'python': p.python_version()}; "
    code += "d |= {x.name: x.version for x in m.distributions()}; print(json.dumps(d))"
    try:
        output = _run([str(make_venvs.python(venvs, name)), "-c", code], "/", 60)
    except (Failed, OSError) as error:
        return {"failed": str(error)}
    return json.loads(output)


def everything(about: dict, venvs: pathlib.Path, rows: list[Contender]) -> dict:
    """Returns what --json keeps: commands, single figures and versions too."""
    results = []
    for row in rows:
        same = [other for other in rows if other.task == row.task]
        names = sorted({name for run in row.runs for name in run})
        figures = {
            name: {
                "all": [run[name] for run in row.runs if name in run],
                "median": row.median(name),
                "ratio_to_reference": ratio_to_reference(row, same, name),
            }
            for name in names
        }
        entry = {"task": row.task, "program": row.name, "venv": row.venv, "reference": row.reference}
        results.append({**entry, "figures": figures, "failures": row.failures, "commands": row.commands})
    used = sorted({row.venv for row in rows})
    return {"machine": about, "packages": {v: packages(venvs, v) for v in used}, "results": results}
