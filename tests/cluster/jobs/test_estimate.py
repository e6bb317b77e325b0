"""The command: what it prints, and what it refuses before TensorFlow is imported."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest

from dqn_tf import settings
from dqn_tf.cluster.jobs import estimate, prices

ROOT = pathlib.Path(__file__).parents[3]
MACHINE = prices.Machine("vertex", "small", "here", 4, 16.0, 0, "", 2.0, 0.5, 0.0, 0.0, "made up", "2026-01-31")


def summary(tmp_path, **changes):
    rates = dict(updates_per_second=40.0, env_steps_per_second=80.0, num_workers=1)
    (tmp_path / "summary.json").write_text(json.dumps({**rates, **changes}))
    return f"--summary={tmp_path}/summary.json"


class TestMain:
    def run(self, capsys, *argv):
        assert estimate.main(argv) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    def test_prints_rows_by_cost_verdict_and_sources(self, capsys):
        lines = self.run(capsys, "--env=ALE/Pong-v5", "--platform=vertex", "--deadline_hours=14").splitlines()
        assert lines[0].startswith("ALE/Pong-v5: 10,000,000 env steps, 2,495,000 updates of 32 transitions,")
        costs = [float(line.split()[5]) for line in lines[2:6]]
        assert costs == sorted(costs)
        assert [line.split()[3] for line in lines[2:6]] == ["1", "2", "4", "8"]
        # 6.1 s, 20,000 env steps at 918 a second, and 0.25 updates of 2.1833 + 32 * 0.6359 ms in each of the others.
        alone = (6.1 + 20_000 / 918 + 9_980_000 * 0.25 * 22.532e-3) / 3600
        assert float(lines[2].split()[4]) == pytest.approx(alone, abs=0.05)
        assert lines[7].startswith("Cheapest within 14 h: 2 x ")
        text = "\n".join(lines[8:])
        for part in ("Measured: date 2026-", "docs/scaling.md", "Prices of 2026-", "cloud.google.com", "Not counted: "):
            assert part in text

    def test_deadline_that_none_meets_is_no_mistake(self, capsys):
        assert "None meets --deadline_hours=0.001; the fastest is 1 x" in self.run(capsys, "--deadline_hours=0.001")

    def test_numbers_of_workers_that_do_not_divide_are_not_tried_by_default(self, capsys):
        lines = self.run(capsys, "--num_envs=2", "--platform=azureml").splitlines()
        assert [line.split()[3] for line in lines[2:4]] == ["1", "2"]
        assert lines[4] == ""

    def test_named_machine_and_all_list_what_is_there(self, capsys):
        lines = self.run(capsys, "--machine=ml.m5.xlarge", "--workers=1").splitlines()
        assert [line.split()[2] for line in lines[2:4]] == ["us-east-1", "eu-west-1"]
        few, many = (self.run(capsys, "--workers=1", *more).splitlines().index("") for more in ([], ["--all"]))
        assert many > few == 2 + len(prices.PLATFORMS)

    def test_machines_with_gpus_are_for_those_who_ask(self, capsys):
        out = self.run(capsys, "--all", "--workers=1")
        assert "ml.g4dn.xlarge" not in out
        out = self.run(capsys, "--all", "--workers=1", "--gpus=1", "--updates_per_second=900")
        assert "ml.g4dn.xlarge" in out
        assert "ml.m5.xlarge" not in out
        assert "900 updates/s as given" in out

    def test_own_prices_and_spot_decide(self, capsys, tmp_path):
        free = dataclasses.replace(MACHINE, name="mine", usd_per_hour=0.0, usd_per_hour_spot=7.0)
        machines = [dataclasses.asdict(machine) for machine in (MACHINE, free)]
        (tmp_path / "p.json").write_text(json.dumps({"machines": machines}))
        said = [self.run(capsys, f"--prices={tmp_path}/p.json", "--workers=1", *more) for more in ([], ["--spot"])]
        assert "Cheapest: 1 x mine" in said[0]
        assert "Cheapest: 1 x small" in said[1]

    def test_summary_of_a_run_says_what_learner_and_actor_can_do(self, capsys, tmp_path):
        # The learner waited half of the time, so makes 80 updates a second; the actor 20 %, so makes 100 env steps.
        option = summary(tmp_path, learner_wait_share=0.5, actor_wait_share=0.2)
        words = (option, "--workers=1", "--train_env_steps=361000", "--round_env_steps=80")
        by_actor, by_learner = (self.run(capsys, *words, f"--replay_ratio={ratio}") for ratio in (0.5, 1))
        assert "80 updates/s while learning" in by_actor
        # 6.1 s and 361,000 at 100 a second; with an update for each, 1,000 at 100 and 360,000 at 80.
        assert float(by_actor.splitlines()[2].split()[4]) == pytest.approx((6.1 + 3610) / 3600, abs=0.005)
        assert float(by_learner.splitlines()[2].split()[4]) == pytest.approx((6.1 + 10 + 4500) / 3600, abs=0.005)

    def test_other_network_than_measured_is_said(self, capsys):
        assert "Not as measured: --hidden_units=256,256;" in self.run(capsys, "--hidden_units=256,256")

    def test_picture_is_drawn(self, capsys, tmp_path):
        self.run(capsys, "--env=ALE/Pong-v5", "--deadline_hours=10", f"--plot={tmp_path}/p.png")
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")

    def test_options_are_no_flags_of_the_program(self):
        for name in "platform machine region workers gpus spot deadline_hours prices measured summary plot all".split():
            assert name not in settings.SETTINGS


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--machine=n1-standard-5"], "--machine=n1-standard-5 is not in the price file; nearest: n1-standard-"),
        (["--platform=vertex", "--region=mars"], "--region=mars is not in the price file for vertex, which has us-"),
        (["--platform=slurm"], "--platform=slurm is not in the price file, which has azureml, "),
        (
            ["--machine=g2-standard-4", "--gpus=2", "--updates_per_second=9"],
            "--gpus=2 is more than the 1 NVIDIA_L4 that g2-standard-4",
        ),
        (["--gpus=99", "--updates_per_second=9"], "--gpus=99: the machines of the price file that are left have 4 at"),
        (["--gpus=1"], "--gpus=1: no GPU was measured; add --updates_per_second=N or --summary=FILE"),
        (["--gpus=-1"], "--gpus=-1 must be a whole number of at least 0."),
        (["--spot", "--machine=m5.xlarge"], "--spot: the price file has no spot price for m5.xlarge in us-east-1."),
        (["--spot", "--platform=azureml"], "No machine that is left has 4 virtual CPUs and the 1.1 GB that a worker"),
        (["--workers=0,1"], "--workers=0,1 must be whole numbers from 1 to 512, comma separated."),
        (["--workers=two"], "--workers=two must be whole numbers from 1 to 512, comma separated."),
        (["--workers=3", "--num_envs=3", "--round_env_steps=96", "--replay_capacity=3000"], "--batch_size=64 must be"),
        (["--deadline_hours=nan"], "argument --deadline_hours: nan must be a number above 0; see estimate --help."),
        (["--updates_per_second=0"], "argument --updates_per_second: 0 must be a number above 0"),
        (["--updates_per_second=1", "--summary=x"], "--updates_per_second and --summary both say how fast"),
        (["--prices=/no/such"], "--prices=/no/such cannot be read: No such file or directory."),
        (["--measured=/no/such"], "--measured=/no/such cannot be read: No such file or directory."),
        (["--summary=/no/such"], "--summary=/no/such cannot be read: No such file or directory."),
        (["--plot=p.svg"], "--plot=p.svg must be a PNG file"),
        (["--plot=/no/such/p.png"], "--plot=/no/such/p.png cannot be written: No such file or directory."),
        (["--batch_sise=3"], "--batch_sise=3 is an unknown flag; did you mean --batch_size?"),
        (["--batch_size=0"], "--batch_size=0 must be"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(capsys, argv, line):
    assert estimate.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (dict(num_workers=2), "is of 2 workers; give that of a run of one."),
        (dict(updates_per_second=None), "has no updates_per_second: it is not the summary.json of a finished run."),
    ],
)
def test_summary_that_is_no_use_is_refused(capsys, tmp_path, changes, line):
    assert estimate.main([summary(tmp_path, **changes)]) == 2
    assert capsys.readouterr().err.endswith(f"summary.json {line}\n")


@pytest.mark.parametrize("argv", [["--env=ALE/Pong-v5"], ["--machine=no"], ["--env=ALE/Pong-v5", "--gpus=9"]])
def test_tensorflow_is_not_imported(argv):
    script = (
        "import sys; from dqn_tf.cluster.jobs import estimate; estimate.main(sys.argv[1:]); "
        "sys.exit(bool({'tensorflow', 'keras', 'numpy', 'gymnasium', 'matplotlib'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script, *argv], cwd=ROOT, capture_output=True, timeout=120)
    assert process.returncode == 0, process.stderr
