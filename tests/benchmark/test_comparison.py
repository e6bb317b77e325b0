"""Environments x settings x seeds: every run once, mistakes first, what fails is told and tried again."""

import json
import threading

import pytest

from dqn_tf.benchmark import __main__ as benchmark
from dqn_tf.benchmark import child, commands, comparing
from dqn_tf.config.schema import ConfigError
from tests.benchmark import made

LENGTH = ["--train_env_steps=2000", "--eval_period=500"]


@pytest.fixture
def runs(monkeypatch):
    return made.Runs(monkeypatch)


def command(out, *argv):
    return benchmark.main([f"--out={out}", *LENGTH, *argv])


def problems(capsys):
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "text, expected", [("0-3", [0, 1, 2, 3]), ("5", [5]), ("7,0-1, 4", [7, 0, 1, 4]), ("3-3", [3]), ("1,1", [1, 1])]
)
def test_seeds_of_a_text(text, expected):
    assert commands.seeds_of(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1,,2", "0-99999999", "1.5", "٣"])
def test_seeds_of_another_text_are_refused(text):
    with pytest.raises(ConfigError, match="--seeds=.* must be whole numbers and ranges"):
        commands.seeds_of(text)


@pytest.mark.parametrize(
    "argv, is_many, expected",
    [
        (["--search", "a=1,2", "b=3,4", "--out=x"], True, (["a=1,2", "b=3,4"], ["--out=x"])),
        (["--search=a=1,2", "b=3,4", "--search", "c=5:6"], True, (["a=1,2", "b=3,4", "c=5:6"], [])),
        (["--setting", "a: --x=1", "--setting=b: --y", "rest"], False, (["a: --x=1", "b: --y"], ["rest"])),
    ],
)
def test_taken_out_are_the_values_of_an_option_that_is_given_again(argv, is_many, expected):
    option = "search" if is_many else "setting"
    assert commands.taken_out(argv, option, is_many) == expected


def test_each_run_is_made_once_with_its_flags(runs, tmp_path, capsys):
    argv = ["--seeds=0-2", "--envs=CartPole-v1,Acrobot-v1", "--setting", "plain:", "--setting=double: --double_q=true"]
    assert command(tmp_path, *argv) == 0
    found = {(str(logdir.relative_to(tmp_path)), tuple(flags)) for logdir, flags in runs.made}
    expected = {
        (f"{env}/{name}/{seed}", (f"--env={env}", f"--seed={seed}", *LENGTH, *flags))
        for env in ("CartPole-v1", "Acrobot-v1")
        for name, flags in (("plain", ()), ("double", ("--double_q=true",)))
        for seed in range(3)
    }
    assert len(runs.made) == 12 and found == expected
    assert command(tmp_path, *argv) == 0 and len(runs.made) == 12  # not again
    assert command(tmp_path, *argv[1:], "--seeds=0-3") == 0 and len(runs.made) == 16  # what is new


def test_results_are_written_as_json_markdown_and_pictures(runs, tmp_path, capsys):
    assert command(tmp_path, "--seeds=1-4") == 0
    table = capsys.readouterr().out
    found = made.results(tmp_path)
    assert [(row["env"], row["setting"], row["seed"], row["result"]["best"]) for row in found["runs"]] == [
        ("CartPole-v1", "default", seed, 100.0 + seed) for seed in (1, 2, 3, 4)
    ]
    [cell] = found["aggregates"]
    assert cell["best"]["mean"] == 102.5 and cell["best"]["iqm"] == 102.5 and cell["last"]["mean"] == 92.5
    assert (cell["threshold_env_steps"], cell["threshold_seconds"]) == (200, 2.0)
    line = "| CartPole-v1 | default | 4 | 102.5 | 1.29 | 102.5 ("
    assert line in table and line in (tmp_path / "results.md").read_text()
    assert "| 0 % | 200 | 2 | 2 |" in table
    assert (tmp_path / "CartPole-v1.png").stat().st_size > 5_000


def test_share_of_solved_seeds_is_of_the_best_and_of_the_last_weights(runs, tmp_path):
    assert command(tmp_path, "--seeds=0,374,375,385") == 0  # best 100 + seed, last 90 + seed
    [cell] = made.results(tmp_path)["aggregates"]
    assert (cell["best"]["solved"], cell["last"]["solved"]) == (0.5, 0.25)
    assert cell["threshold_env_steps"] == 200  # of those that reached it: seed 0 of the made runs never does


def test_run_that_was_killed_is_started_again(runs, tmp_path):
    runs.codes = [made.KILLED, 143]
    assert command(tmp_path, "--seeds=1", "--parallel=1") == 0
    assert len(runs.made) == 3


def test_run_that_fails_is_told_with_its_last_line_and_the_others_are_made(runs, tmp_path, capsys):
    runs.codes = [1]
    assert command(tmp_path, "--seeds=1-3", "--parallel=1") == 1
    said = problems(capsys)
    assert said[-1] == "1 of 3 runs have failed; the same command tries them again"
    assert len(made.results(tmp_path)["runs"]) == 2
    assert command(tmp_path, "--seeds=1-3") == 0 and len(runs.made) == 4


def test_run_that_always_fails_from_outside_is_given_up(runs, tmp_path):
    runs.codes = [made.KILLED] * 50
    assert command(tmp_path, "--seeds=1") == 1
    assert len(runs.made) == child._MOST_STARTS


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--seeds=1,1"], "seed 1 is given twice; leave one out."),
        (["--envs=CartPole-v1,CartPole-v1"], "environment CartPole-v1 is given twice; leave one out."),
        (["--envs=CartPole-v9"], "--env=CartPole-v9 is not a registered environment; did you mean"),
        (["--setting", "a"], '--setting a must be "NAME: FLAGS".'),
        (["--setting", "a: --x=1", "--setting=a: --n_step=2"], "--setting a: --n_step=2 is given twice."),
        (["--setting", "a: --lerning_rate=1"], "--lerning_rate=1 is an unknown flag; did you mean --learning_rate?"),
        (["--setting", "a: --seed=1"], "--seed=1 is not for all runs; leave it out, see --help."),
        (["--setting", "a: 'x"], "--setting a: 'x: No closing quotation."),
        (["--logdir=x"], "--logdir=x is not for all runs; leave it out, see --help."),
        (["--setting", "a b:", "--setting=a_b: --n_step=2"], "settings a b and a_b would have one directory; give"),
        (["--envs=a:CartPole-v1,a-CartPole-v1"], "environments a:CartPole-v1 and a-CartPole-v1 would have one"),
        (["--setting", "..:"], "setting '..': a name has letters, digits, spaces and . + - _ only."),
        (["--setting"], "--setting needs a value; see --help."),
        (["--network=nature_cnn"], "--network=nature_cnn needs images of at least 36 x 36"),
        (["--loss=nomod:f"], "--loss=nomod:f: "),
        (["--evaluated_by=evaluator"], "--evaluated_by=evaluator is not for all runs; leave it out, see --help."),
        (["--out=gs://bucket/x"], "--out=gs://bucket/x must be a directory of this machine."),
        (["--setting", "a/b:"], "setting 'a/b': a name has letters, digits, spaces and . + - _ only."),
        (["--seeds=x"], "--seeds=x must be whole numbers and ranges with commas between, such as 0-9 or 0,1,5."),
        (["--batch_size=0"], "--batch_size=0 must be a whole number of at least 1."),
        (["--parralel=1"], "--parralel=1 is an unknown flag; did you mean --parallel?"),
        (["--parallel=-1"], "--parallel=-1 must be a whole number of at least 0."),
        (["--n_step=2000"], "--learning_starts=1000 must be at least 32000"),
    ],
)
def test_mistakes_are_one_line_each_and_nothing_is_begun(argv, expected, runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(out, *argv) == 2
    said = problems(capsys)
    assert any(line.startswith(expected) for line in said) and len(said) <= 2, said
    assert not runs.made and not out.exists()


def test_environment_whose_package_is_missing_is_refused_first(runs, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("dqn_tf.environment.minatar.is_installed", lambda: False)
    monkeypatch.setattr("dqn_tf.environment.minatar.gymnasium.registry", {})
    assert command(tmp_path / "out", "--envs=MinAtar/Breakout-v1") == 2
    assert problems(capsys) == [
        "--env=MinAtar/Breakout-v1 needs MinAtar, which is not installed: pip install -e '.[minatar]'"
    ]


def test_directory_without_a_name_is_refused(capsys):
    assert benchmark.main([]) == 2
    assert problems(capsys) == ["--out is missing: directory of all runs; see --help."]


def test_other_flags_in_the_same_directory_are_refused(runs, tmp_path, capsys):
    assert command(tmp_path, "--seeds=0", "--setting", "a: --n_step=1") == 0
    assert command(tmp_path, "--seeds=0", "--setting", "a: --n_step=2") == 2
    assert problems(capsys)[-1] == f"--out={tmp_path} holds a setting a with --n_step=1; give it another name."
    assert command(tmp_path, "--seeds=0", "--setting", "b: --n_step=2") == 0
    assert command(tmp_path, "--seeds=0", "--setting", "a: --n_step=1", "--discount=0.9") == 2
    told = " ".join(LENGTH)
    assert problems(capsys)[-1] == f"--out={tmp_path} holds runs with {told} for all; use those, or a new directory."
    assert list(json.loads((tmp_path / "comparison.json").read_text())["settings"]) == ["a", "b"]


def test_settings_of_a_file_that_has_changed_are_refused(runs, tmp_path, capsys):
    path, out = tmp_path / "mine.json", tmp_path / "out"
    path.write_text('{"learning": {"n_step": 1}}')
    argv = ["--seeds=0", "--setting", f"a: --config={path}"]
    assert command(out, *argv) == 0
    path.write_text('{"learning": {"n_step": 2}}')
    assert command(out, *argv) == 2
    assert problems(capsys)[-1] == f"--config={path} has changed since --out={out} was begun; use another."


def test_mistake_is_not_remembered(runs, tmp_path, capsys):
    assert command(tmp_path, "--seeds=0", "--network=nature_cnn") == 2
    assert command(tmp_path, "--seeds=0") == 0


def test_damaged_plan_is_one_line(runs, tmp_path, capsys):
    (tmp_path / "comparison.json").write_text('{"flags": 3}')
    assert command(tmp_path, "--seeds=0") == 2
    assert problems(capsys)[-1] == (
        f"--out={tmp_path}: comparison.json is damaged; remove it, or use a new directory."
    )


def test_run_whose_directory_cannot_be_made_fails_in_one_line(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(child.Slot, "_start", lambda *given: open(tmp_path / "nothing" / "log"))
    assert command(tmp_path, "--seeds=0") == 1
    assert problems(capsys)[-1] == "1 of 1 runs have failed; the same command tries them again"


def test_interrupt_of_the_library_makes_no_further_run(runs, tmp_path, monkeypatch):
    def interrupted(self, *given):
        raise KeyboardInterrupt

    def second_waits(slot, logdir, flags, stop, look):
        found = start(logdir, flags, stop, look)
        if len(runs.made) > 1:  # else quick runs would be ahead of the interrupt
            stop.wait(60)
        return found

    start = runs._start
    monkeypatch.setattr(child.Slot, "_start", second_waits)
    monkeypatch.setattr("dqn_tf.benchmark.meter.Meter.ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        comparing.compare(tmp_path, ["CartPole-v1"], seeds=range(50), parallel=1, train_env_steps=2000)
    assert len(runs.made) < 5


def test_package_of_the_extra_that_is_missing_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command(tmp_path) == 2
    assert problems(capsys) == ["scipy is not installed: pip install -e '.[benchmark]'"]


def test_compare_of_the_library_returns_the_results(runs, tmp_path):
    settings = {"one": {"n_step": 1}, "two": {"double_q": True, "hidden_units": (8, 8)}}
    found = comparing.compare(tmp_path, ["CartPole-v1"], settings, seeds=[1, 2], train_env_steps=2000)
    assert [cell["setting"] for cell in found["aggregates"]] == ["one", "two"]
    assert found["settings"]["two"] == ["--double_q=true", "--hidden_units=8,8"]
    assert found["flags"] == ["--train_env_steps=2000"]


def test_compare_refuses_functions(tmp_path):
    with pytest.raises(ConfigError, match="^network=<function .* must be a name, module:network, because runs are"):
        comparing.compare(tmp_path, ["CartPole-v1"], network=lambda shape, actions, settings: None)


def test_two_at_a_time_in_one_directory_are_refused(runs, tmp_path, capsys):
    comparison, _ = benchmark._parse([f"--out={tmp_path}", "--seeds=0", *LENGTH])
    with comparison._locked():
        assert command(tmp_path, "--seeds=0") == 2
    assert "is being written by another process" in problems(capsys)[-1] and not runs.made


@pytest.mark.parametrize("parallel, gpus, expected", [(3, [], 3), (0, ["0", "1"], 2), (1, ["0"], 1)])
def test_slots_share_cores_and_gpus(parallel, gpus, expected):
    slots = child.slots(parallel, gpus)
    assert len(slots) == expected
    assert [slot._gpu for slot in slots] == [gpus[index % len(gpus)] if gpus else None for index in range(expected)]
    held = [core for slot in slots for core in slot._cores]
    assert len(held) == len(set(held))


def test_stop_before_the_first_run_makes_none(runs, tmp_path):
    stop = threading.Event()
    stop.set()
    comparison, _ = benchmark._parse([f"--out={tmp_path}", "--seeds=0"])
    with pytest.raises(child.RunStopped):
        comparison.run(1, stop)
    assert not runs.made
