"""The estimate: its arithmetic, what it prints, and what it refuses before TensorFlow is imported."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest

from dqn_tf.config import settings
from dqn_tf.jobs.cost import estimate, prices
from tests.jobs.cost.test_measured import CONFIG, FIGURES
from tests.jobs.cost.test_prices import MACHINE

ROOT = pathlib.Path(__file__).parents[3]
SMALL = prices.Machine("vertex", "small", "here", 4, 16.0, 2.0, "2026-01-31", 0.5)


def options(**values):
    return estimate._Options(**{"gigabits": 1e9, "latency_us": 0, **values})


def run(capsys, *argv):
    """Returns the lines that are printed."""
    assert estimate.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


@pytest.mark.parametrize("spot, hourly", [(False, 2.0), (True, 0.5)])
def test_cost_is_that_of_all_machines_for_the_hours_of_the_run(spot, hourly):
    [choice] = estimate.choose(options(workers=(2,), spot=spot), CONFIG, [SMALL], FIGURES)
    hours = (60 + 25 + 1000 * 0.5 * 1.5 * 4.2) / 3600  # see test_measured
    assert (choice.hours, choice.usd) == pytest.approx((hours, 2 * hours * hourly))


def test_machines_that_do_not_fit_are_left_out():
    # 1 GB and 1 MB for each of the 1100 transitions that the run makes: 2.1 GB, or 1.55 if two share them.
    config = dataclasses.replace(CONFIG, run=dataclasses.replace(CONFIG.run, env="ALE/Pong-v5"))
    others = [dict(cores=3), dict(gpus=1), dict(platform="azureml"), dict(usd_per_hour_spot=None)]
    machines = [dataclasses.replace(SMALL, **change) for change in others]
    machines.append(dataclasses.replace(SMALL, memory_gb=2.0))
    found = estimate.choose(options(workers=(1, 2), spot=True, platform="vertex"), config, machines, FIGURES)
    assert [(choice.machine.memory_gb, choice.workers) for choice in found] == [(2.0, 2)]


@pytest.mark.parametrize(
    ("deadline", "line"),
    [
        (None, "Cheapest: 1 x slow (vertex, here), 9 h, 1.00 USD on demand, price of 2026-01-31."),
        (9.0, "Cheapest within 9 h: 1 x slow (vertex, here), 9 h, 1.00 USD on demand, price of 2026-01-31."),
        (8.99, "Cheapest within 8.99 h: 2 x middling (vertex, here), 5 h, 2.00 USD on demand, price of 2026-01-31."),
        (2, "None meets --deadline_hours=2; the fastest is: 4 x fast (vertex, here), 3 h, 4.00 USD on demand, pri"),
    ],
)
def test_verdict_is_the_cheapest_in_time(deadline, line):
    found = [
        estimate.Choice(usd, hours, workers, dataclasses.replace(SMALL, name=name))
        for usd, hours, workers, name in ((1.0, 9, 1, "slow"), (2.0, 5, 2, "middling"), (4.0, 3, 4, "fast"))
    ]
    assert estimate.verdict(found, options(deadline_hours=deadline)).startswith(line)


def test_table_has_the_cheapest_of_each_platform_and_number_of_workers_by_cost(capsys):
    lines = run(capsys, "--env=ALE/Pong-v5", "--deadline_hours=14")
    rows = [line.split() for line in lines[2 : lines.index("")]]
    assert sorted((row[0], row[3]) for row in rows) == sorted((p, n) for p in prices.PLATFORMS for n in "1248")
    assert [float(row[5]) for row in rows] == sorted(float(row[5]) for row in rows)
    # 6.1 s, 20,000 env steps at 918 a second, and 0.25 updates of 2.1833 + 32 * 0.6359 ms in each of the others.
    alone = (6.1 + 20_000 / 918 + 9_980_000 * 0.25 * 22.532e-3) / 3600
    assert float(rows[0][4]) == pytest.approx(alone, abs=0.05)
    text = "\n".join(lines)
    for part in ("Cheapest within 14 h: 2 x ", "Prices: a small SAMPLE of 20", "Speed: one CPU core, Nature CNN, "):
        assert f"\n{part}" in text


def test_own_prices_decide_and_are_no_sample(capsys, tmp_path):
    machines = [MACHINE, {**MACHINE, "name": "free", "usd_per_hour": 0.0, "usd_per_hour_spot": 7.0}]
    (tmp_path / "p.json").write_text(json.dumps({"machines": machines}))
    on_demand, spot = ("\n".join(run(capsys, f"--prices={tmp_path}/p.json", *w)) for w in ([], ["--spot"]))
    assert "Cheapest: 1 x free" in on_demand and "USD on spot machines" in spot
    assert f"\nPrices: {tmp_path}/p.json.\n" in on_demand and "SAMPLE" not in on_demand


def test_numbers_of_workers_that_do_not_divide_are_tried_only_if_they_are_given(capsys):
    rows = run(capsys, "--num_envs=2", "--platform=azureml")[2:]
    assert [row.split()[3] for row in rows[: rows.index("")]] == ["1", "2"]
    assert estimate.main(["--num_envs=2", "--workers=1,4"]) == 2
    assert capsys.readouterr().err.startswith("--num_envs=2 must be divisible by the 4 workers; try 4.")


@pytest.mark.parametrize(
    "words",
    [
        ["--deadline-hours=9", "--spot=True", "--workers=1"],
        ["--deadline_hours", "9", "--spot", "true", "--workers", "1", "--env", "CartPole-v1"],
        ["--deadline_hours=9", "--spot", "--workers=1"],
    ],
)
def test_options_are_written_as_those_of_the_jobs(capsys, words):
    assert any("Cheapest within 9 h: 1 x n2-standard-4" in line for line in run(capsys, *words))


def test_help_names_every_option_and_none_is_a_flag_of_the_program(capsys):
    named = [line.strip()[2:] for line in run(capsys, "--help") if line.startswith("  --")]
    assert "deadline_hours" in named and not set(named) & set(settings.SETTINGS)


def test_picture_is_drawn(capsys, tmp_path):
    run(capsys, "--deadline_hours=10", f"--plot={tmp_path}/p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--platform=slurm"], "--platform=slurm must be one of vertex, sagemaker, azureml, kubernetes."),
        (["--workers=0,1"], "--workers=0,1 must be whole numbers separated by commas, each from 1 to 512."),
        (["--gpus"], "--gpus needs a value, --gpus=...: of each machine;"),
        (["--gpus=1"], "--gpus=1: no GPU was measured; add --updates_per_second=N or --summary=FILE."),
        (["--gpus=8", "--updates_per_second=9"], "no machine of the price file has what a worker needs: 8 GPUs, 4 vi"),
        (["--deadline_hours=nan"], "--deadline_hours=nan must be a number from 0.001 to 100000."),
        (["--updates_per_second=1", "--summary=x"], "--updates_per_second and --summary both say how fast"),
        (["--deadline=10"], "--deadline=10 is an unknown flag; did you mean --deadline_hours?"),
        (["--num-workers=2"], "--num-workers=2 is not for the estimate: leave it out; give --workers and --gpus."),
        (["--batch_size=0"], "--batch_size=0 must be a whole number of at least 1."),
        (["--plot=/no/such/p.png"], "--plot: [Errno 2] No such file or directory: '/no/such/p.png'"),
        (["--prices=/no.json"], "--prices=/no.json cannot be read: No such file or directory."),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(capsys, argv, line):
    assert estimate.main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(line)


class TestDocument:
    """The figures of docs/clouds/cost.md are those that the command prints."""

    TEXT = (ROOT / "docs" / "clouds" / "cost.md").read_text(encoding="utf-8")

    def test_output_is_what_is_printed(self, capsys):
        indented = [line[4:] for line in self.TEXT.splitlines() if line.startswith("    ")]
        command, shown = indented[0].split(), [line for line in indented[1:] if line != "..."]
        assert command[:4] == ["python", "-m", "dqn_tf.jobs", "estimate"]
        printed = run(capsys, *command[4:])
        assert shown[0].startswith("platform ") and shown[-1].startswith("Cheapest within 10 h: ")
        assert [line for line in printed if line in shown] == shown  # in their order too

    def test_example_of_a_price_file_is_one(self, tmp_path):
        (tmp_path / "p.json").write_text(self.TEXT.split("```json\n")[1].split("```")[0])
        assert len(prices.load(str(tmp_path / "p.json"))[0]) == 1


@pytest.mark.parametrize("argv", [["--env=ALE/Pong-v5"], ["--gpus=9"]])
def test_tensorflow_is_not_imported(argv):
    script = (
        "import sys; from dqn_tf.jobs.cost import estimate; estimate.main(sys.argv[1:]); "
        "sys.exit(bool({'tensorflow', 'keras', 'numpy', 'gymnasium', 'matplotlib'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script, *argv], cwd=ROOT, capture_output=True, timeout=120)
    assert process.returncode == 0, process.stderr
