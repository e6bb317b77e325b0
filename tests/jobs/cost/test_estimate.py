"""The command: what it prints, and what it refuses before TensorFlow is imported."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given

from dqn_tf.config import settings
from dqn_tf.jobs.cost import estimate, prices
from tests.jobs.cost.test_prices import ANY, JSON

ROOT = pathlib.Path(__file__).parents[3]
MACHINE = prices.Machine("vertex", "small", "here", 4, 16.0, 0, "", 2.0, 0.5, 0.0, 0.0, "made up", "2026-01-31")


def summary(tmp_path, **changes):
    rates = dict(env="CartPole-v1", updates_per_second=40.0, env_steps_per_second=80.0, num_workers=1)
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
        assert f"80 updates/s and 100 env steps/s of {tmp_path}/summary.json, its waits left out; all else" in by_actor
        # 6.1 s and 361,000 at 100 a second; with an update for each, 1,000 at 100 and 360,000 at 80.
        assert float(by_actor.splitlines()[2].split()[4]) == pytest.approx((6.1 + 3610) / 3600, abs=0.005)
        assert float(by_learner.splitlines()[2].split()[4]) == pytest.approx((6.1 + 10 + 4500) / 3600, abs=0.005)

    def test_rates_that_are_given_are_those_of_the_run(self, capsys):
        words = ("--env=LunarLander-v3", "--workers=1", "--train_env_steps=361000", "--round_env_steps=80")
        out = self.run(capsys, *words, "--replay_ratio=1", "--updates_per_second=80", "--env_steps_per_second=100")
        assert float(out.splitlines()[3].split()[4]) == pytest.approx((6.1 + 10 + 4500) / 3600, abs=0.005)
        assert "Measured: 80 updates/s and 100 env steps/s as given; all else: date 2026-" in out

    def test_what_was_not_measured_is_said_before_the_table(self, capsys):
        line = self.run(capsys, "--hidden_units=256,256").splitlines()[1]
        assert line.startswith("Not as measured: --hidden_units=256,256; hours and USD may be wrong by many times; ")
        line = self.run(capsys, "--env=LunarLander-v3").splitlines()[1]
        assert line.startswith("Not as measured: --env=LunarLander-v3 (acting, updates, memory as of CartPole-v1); ")
        assert "--summary=FILE" in line
        assert "--updates_per_second=N and --env_steps_per_second=N." in line
        rates = ("--updates_per_second=9", "--env_steps_per_second=9")
        assert self.run(capsys, "--env=LunarLander-v3", *rates).splitlines()[1] == (
            "Not as measured: --env=LunarLander-v3 (memory as of CartPole-v1); see that --machine has the memory."
        )
        assert "Not as measured" not in self.run(capsys)

    def test_game_with_a_dense_network_acts_as_a_game(self, capsys):
        lines = self.run(capsys, "--env=ALE/Pong-v5", "--network=mlp", "--workers=1").splitlines()
        assert float(lines[3].split()[4]) == pytest.approx(10_000_000 / 918 / 3600, abs=0.01)

    @pytest.mark.parametrize(
        "words",
        [
            ["--deadline-hours=9", "--latency-us=0", "--spot=True", "--workers=1"],
            ["--deadline_hours", "9", "--latency_us", "0", "--spot", "true", "--workers", "1"],
            ["--deadline_hours=9", "--latency_us=0", "--spot", "--workers=1", "--all=False"],
        ],
    )
    def test_options_are_written_as_those_of_the_jobs(self, capsys, words):
        out = self.run(capsys, *words, "--env", "ALE/Pong-v5", "--deadline_hours=99")
        assert "Cheapest within 99 h: 1 x n2-standard-4 (kubernetes, us-central1), 15.6 h, 0.85 USD on spot" in out
        assert "10 Gbit/s and 0 us" in out

    def test_tfjob_is_priced_as_kubernetes(self, capsys):
        assert self.run(capsys, "--platform=tfjob") == self.run(capsys, "--platform=kubernetes")

    def test_spot_machine_is_that_of_the_platform_that_has_a_price(self, capsys):
        lines = self.run(capsys, "--spot", "--machine=e2-standard-4", "--workers=1").splitlines()
        assert lines[2].startswith("kubernetes  e2-standard-4")
        assert lines[3] == ""

    def test_numbers_of_workers_whose_gpus_do_not_divide_are_not_tried(self, capsys):
        # A batch of 8: 8 replicas are 2 workers of 4 GPUs.
        words = ("--gpus=4", "--updates_per_second=9", "--batch_size=8", "--platform=sagemaker")
        lines = self.run(capsys, *words).splitlines()
        assert [line.split()[3] for line in lines[2 : lines.index("")]] == ["1", "2"]

    def test_help_names_the_options(self, capsys):
        assert "--env_steps_per_second [N]" in self.run(capsys, "--help")

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
        (["--platform=gke"], "--platform=gke is not in the price file, which has azureml, "),
        (["--platform=slurm"], "--platform=slurm: a cluster of your own has no price; give --prices=FILE with it"),
        (
            ["--machine=g2-standard-4", "--gpus=2", "--updates_per_second=9"],
            "--gpus=2 is more than the 1 NVIDIA_L4 that g2-standard-4 of vertex in us-central1 has. Nor has that of",
        ),
        (["--gpus=8", "--updates_per_second=9"], "--gpus=8: the machines of the price file that are left have 4 at"),
        (["--gpus=1"], "--gpus=1: no GPU was measured; add --updates_per_second=N or --summary=FILE"),
        (["--gpus=-1"], "--gpus=-1 must be a whole number from 0 to 64."),
        (["--gpus=x"], "--gpus=x must be a whole number from 0 to 64."),
        (["--gpus"], "--gpus needs a value, --gpus=...: of each machine;"),
        (["--gpus=3", "--updates_per_second=9"], "--batch_size=64 must be divisible by the 3 replicas in sync"),
        (["--gpus=8", "--workers=16", "--updates_per_second=9"], "--batch_size=64 must be divisible by the 128 repli"),
        (["--spot=maybe"], "--spot=maybe must be true or false."),
        (["--spot", "--machine=m5.xlarge"], "--spot: the price file has no spot price for m5.xlarge of kubernetes"),
        (["--spot", "--machine=Standard_D4s_v3"], "--spot: the price file has no spot price for Standard_D4s_v3 of"),
        (["--spot", "--platform=azureml"], "No machine that is left has 4 virtual CPUs and the 1.1 GB that a worker"),
        (["--workers=0,1"], "--workers=0,1 must be whole numbers from 1 to 512, comma separated."),
        (["--workers=two"], "--workers=two must be whole numbers from 1 to 512, comma separated."),
        (["--workers=3", "--num_envs=3", "--round_env_steps=96", "--replay_capacity=3000"], "--batch_size=64 must be"),
        (["--deadline_hours=nan"], "--deadline_hours=nan must be a number from 0.001 to 100000."),
        (["--updates_per_second=0"], "--updates_per_second=0 must be a number from 0.001 to"),
        (["--env_steps_per_second=x"], "--env_steps_per_second=x must be a number from 0.001 to"),
        (["--gigabits=0"], "--gigabits=0 must be a number from 0.001 to 100000."),
        (["--latency_us=-1"], "--latency_us=-1 must be a number from 0 to 1000000."),
        (["--updates_per_second=1", "--summary=x"], "--updates_per_second and --summary both say how fast"),
        (["--env_steps_per_second=1", "--summary=x"], "--env_steps_per_second and --summary both say how fast"),
        (["--deadline=10"], "--deadline=10 is an unknown flag; did you mean --deadline_hours?"),
        (["--platfrom=vertex"], "--platfrom=vertex is an unknown flag; did you mean --platform?"),
        (["--strategy=multiworker"], "--strategy=multiworker is not for the estimate: leave it out; --workers and --g"),
        (["--num-workers=2"], "--num-workers=2 is not for the estimate: leave it out; --workers decides how many"),
        (["--prices=/no/such"], "--prices=/no/such cannot be read: No such file or directory."),
        (["--measured=/no/such"], "--measured=/no/such cannot be read: No such file or directory."),
        (["--summary=caf\udce9"], "--summary=caf\\udce9 must be UTF-8"),
        (["--summary=/no/such"], "--summary=/no/such cannot be read: No such file or directory."),
        (["--plot=p.svg"], "--plot=p.svg must be a PNG file"),
        (["--plot=/no/such/p.png"], "--plot=/no/such/p.png cannot be written: there is no directory /no/such."),
        (["--plot=/no/such/.png"], "--plot=/no/such/.png cannot be written: there is no directory /no/such."),
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
        (dict(num_workers="2\n3"), "is of '2\\n3' workers; give that of a run of one."),
        (dict(updates_per_second=None), "has no updates_per_second: it is not the summary.json of a finished run."),
        (dict(updates_per_second=10**400), "has no updates_per_second: it is not the summary.json of a finished run."),
        (dict(env=None), "has no env: it is not the summary.json of a finished run."),
        (
            dict(env="LunarLander-v3"),
            "is of a run on LunarLander-v3, not on --env=CartPole-v1; give --env=LunarLander-v3, or a run of this one.",
        ),
    ],
)
def test_summary_that_is_no_use_is_refused(capsys, tmp_path, changes, line):
    assert estimate.main([summary(tmp_path, **changes)]) == 2
    assert capsys.readouterr().err.endswith(f"summary.json {line}\n")


CONFIG = {
    "training": {"batch_size": 64, "replay_ratio": 0.5},
    "network": {"network": "auto", "hidden_units": [128, 128]},
}


@pytest.mark.parametrize(
    ("section", "values", "difference"),
    [
        ("training", dict(batch_size=32), "--batch_size=32, this one has --batch_size=64"),
        ("training", dict(replay_ratio=1, seed=3), "--replay_ratio=1, this one has --replay_ratio=0.5"),
        (
            "network",
            dict(network="mlp", hidden_units=[64, "x"]),
            "--network=mlp --hidden_units=64,x, this one has --network=auto --hidden_units=128,128",
        ),
    ],
)
def test_summary_whose_config_is_of_other_updates_is_refused(capsys, tmp_path, section, values, difference):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, section: {**CONFIG[section], **values}}))
    assert estimate.main([summary(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"is of a run with {difference}; give the same flags.\n")


def test_summary_whose_config_is_the_same_is_taken(capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert estimate.main([summary(tmp_path)]) == 0
    (tmp_path / "config.json").write_text("[]")
    assert estimate.main([summary(tmp_path)]) == 2
    assert "config.json, beside it, cannot be read: it is JSON, but not an object." in capsys.readouterr().err


@ANY
@given(tree=JSON, beside=JSON)
def test_any_json_is_a_summary_or_one_line(tmp_path, capsys, tree, beside):
    sections = {"training": {"batch_size": beside}, "network": {"network": beside, "hidden_units": [beside]}}
    (tmp_path / "config.json").write_text(json.dumps(sections))
    for changes in (dict(env=tree), dict(num_workers=tree), dict(updates_per_second=tree, learner_wait_share=beside)):
        code = estimate.main([summary(tmp_path, **changes)])
        err = capsys.readouterr().err
        assert (code, err.count("\n")) == (2, 1)
        assert err.rstrip("\n").isprintable()


class TestDocument:
    """The figures of docs/clouds.md are those that the commands print."""

    TEXT = (ROOT / "docs" / "clouds.md").read_text(encoding="utf-8").split("### What will it cost?")[1]

    def printed(self, capsys, command):
        words = command.split()
        assert words[:4] == ["python", "-m", "dqn_tf.jobs", "estimate"]
        assert estimate.main(words[4:]) == 0
        return capsys.readouterr().out.splitlines()

    def test_table_and_verdict_are_those_that_are_printed(self, capsys):
        indented = [line[4:] for line in self.TEXT.splitlines() if line.startswith("    ")]
        command, rows = indented[0], [line for line in indented[1:] if line != "..."]
        printed = self.printed(capsys, command)
        assert rows[0].split()[:3] == ["platform", "machine", "region"]
        assert rows[-1].startswith("Cheapest within 10 h: ")
        assert len(rows) >= 8
        assert [line for line in printed if line in rows] == rows  # in their order too

    @pytest.mark.parametrize(
        ("words", "column", "figures"),
        [
            ("--env=ALE/Pong-v5 --spot --workers=4", "n2-standard-4", "4 x n2-standard-4 at 2.06 USD"),
            (
                "--env=ALE/Pong-v5 --batch_size=256 --replay_ratio=0.03125 --platform=vertex --workers=8",
                "e2-standard-4",
                "4.74 h for 5.85 USD on Vertex AI",
            ),
            (
                "--env=ALE/Pong-v5 --batch_size=256 --replay_ratio=0.03125 --platform=vertex --workers=1",
                "e2-standard-4",
                "14.3 h for 2.20 on",
            ),
            ("--env=ALE/Pong-v5 --platform=sagemaker --gigabits=1.25 --workers=4", "ml.c5.xlarge", "14.8 on four"),
        ],
    )
    def test_figures_of_the_text_are_those_that_are_printed(self, capsys, words, column, figures):
        row = self.printed(capsys, f"python -m dqn_tf.jobs estimate {words}")[2]
        assert row.split()[1] == column
        assert figures in " ".join(self.TEXT.split())
        for figure in [word for word in figures.split() if "." in word]:
            assert figure in row.split()

    def test_picture_is_there(self):
        assert "](cost.png)" in self.TEXT
        assert (ROOT / "docs" / "cost.png").read_bytes().startswith(b"\x89PNG")

    def test_example_of_a_price_file_is_one(self, tmp_path):
        example = self.TEXT.split("```json\n")[1].split("```")[0]
        (tmp_path / "p.json").write_text(example)
        [machine] = prices.load(str(tmp_path / "p.json"))
        assert prices.cost_per_hour(machine, 1, False) == 0.5 + 0.1


@pytest.mark.parametrize(
    "argv",
    [["--env=ALE/Pong-v5"], ["--machine=no"], ["--env=ALE/Pong-v5", "--gpus=9"], ["--plot=/no/such/p.png"]],
)
def test_tensorflow_is_not_imported(argv):
    script = (
        "import sys; from dqn_tf.jobs import estimate; estimate.main(sys.argv[1:]); "
        "sys.exit(bool({'tensorflow', 'keras', 'numpy', 'gymnasium', 'matplotlib'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script, *argv], cwd=ROOT, capture_output=True, timeout=120)
    assert process.returncode == 0, process.stderr
