"""A study: trials with several seeds, pruned, resumed, never run twice; what it leaves."""

import json
import statistics
import threading
import time

import optuna
import pytest

from dqn_tf.sweep import __main__ as sweep
from dqn_tf.sweep import locks, tuning
from tests.benchmark import made

LENGTH = ["--train_env_steps=2000", "--eval_period=500"]
SEARCH = ["--search", "learning_rate=log:1e-4:1e-2", "n_step=1,3"]
STATES = optuna.trial.TrialState


@pytest.fixture
def runs(monkeypatch):
    return made.Runs(monkeypatch)


def command(out, *argv, search=tuple(SEARCH)):
    return sweep.main([f"--out={out}", *search, "--parallel=1", *LENGTH, *argv])


def trials(out):
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{out}/study.db").trials


def test_trials_are_made_with_all_seeds(runs, tmp_path, capsys):
    assert command(tmp_path, "--trials=3", "--seeds=1-2") == 0
    assert [trial.value for trial in trials(tmp_path)] == [101.5] * 3  # the best models of the made runs
    assert len(runs.made) == 6
    for (logdir, flags), trial in zip(runs.made[::2], trials(tmp_path), strict=True):
        given = {f"--{name}={value}" for name, value in trial.params.items()}
        assert given | {"--seed=1", *LENGTH} == set(flags) and logdir.name == "1"
    assert json.loads((tmp_path / "best.json").read_text()) == {"run": {"seed": 1}}
    table = capsys.readouterr().out
    assert "| 101.5 |" in table and "3 trials were made to their end, 0 were pruned." in table
    assert (tmp_path / "slices.png").stat().st_size > 5_000


@pytest.mark.parametrize("metric, expected", [("best", 101.5), ("last", 91.5), ("mean", 30.0)])
def test_metric_is_the_mean_over_seeds(metric, expected, runs, tmp_path):
    assert command(tmp_path, "--trials=1", "--seeds=1,2", f"--metric={metric}") == 0
    assert trials(tmp_path)[0].value == expected


def test_second_command_makes_what_is_missing(runs, tmp_path):
    assert command(tmp_path, "--trials=2", "--seeds=1") == 0
    assert command(tmp_path, "--trials=2", "--seeds=1") == 0 and len(runs.made) == 2
    assert command(tmp_path, "--trials=3", "--seeds=1") == 0 and len(runs.made) == 3


def test_equal_settings_are_run_once(runs, tmp_path):
    assert command(tmp_path, "--trials=6", "--seeds=1", search=["--search", "n_step=1,3"]) == 0
    assert len(trials(tmp_path)) == 6 and len(runs.made) == 2


def test_evaluations_are_reported_and_bad_trials_are_pruned(runs, tmp_path, monkeypatch):
    scale, write = iter([1, 1, 1, 1, 1, 0.5, 1]), made.Runs._start
    scales = {}

    def scaled(slot, logdir, flags, stop, look):
        factor = scales.setdefault(logdir.parent, None) or next(scale)
        scales[logdir.parent] = factor

        def seen():
            path = logdir / "metrics.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            rows = [{**row, "eval/return_mean": row["eval/return_mean"] * factor} for row in rows]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            return look()

        return write(runs, logdir, flags, stop, seen)

    monkeypatch.setattr(made.child.Slot, "_start", scaled)
    assert command(tmp_path, "--trials=7", "--seeds=1,2") == 0
    found = trials(tmp_path)
    assert [trial.number for trial in found if trial.state == STATES.PRUNED] == [5]
    found = [found[0], found[5]]
    # Best so far of seed 1, then the mean of its score and the best so far of seed 2.
    reported = [10.0, 20.0, 30.0, *(statistics.mean([101.0, value]) for value in (20.0, 40.0, 60.0))]
    assert list(found[0].intermediate_values.values()) == reported
    assert len(found[1].intermediate_values) == 3  # of its first seed


def test_trial_that_contradicts_itself_is_passed_over(runs, tmp_path):
    search = ["--search", "replay=uniform,prioritized", "--priority_exponent=0.6"]
    assert command(tmp_path, "--trials=8", "--seeds=1", search=search) == 0
    for trial in trials(tmp_path):
        assert trial.state == (STATES.PRUNED if trial.params["replay"] == "uniform" else STATES.COMPLETE)


def test_sweep_of_contradictions_alone_is_one_line(runs, tmp_path, capsys):
    search = ["--search", "priority_exponent=0.2:0.8"]
    assert command(tmp_path, "--trials=3", "--seeds=1", search=search) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("no trial has been made to its end")
    assert not runs.made


def test_run_that_fails_ends_the_sweep_in_one_line(runs, tmp_path, capsys):
    runs.codes = [2] * 3
    assert command(tmp_path, "--trials=9", "--seeds=1") == 1
    said = capsys.readouterr().err
    assert "3 trials in a row have failed, the last one: " in said.splitlines()[-1]
    assert said.endswith("exit code 2: the reason\n") and "Traceback" not in said
    assert len(runs.made) == 3


def test_trial_that_fails_alone_is_passed_over(runs, tmp_path, capsys):
    runs.codes = [0, 2, 2]
    assert command(tmp_path, "--trials=5", "--seeds=1") == 0
    states = [trial.state for trial in trials(tmp_path)]
    assert states == [STATES.COMPLETE, STATES.PRUNED, STATES.PRUNED, STATES.COMPLETE, STATES.COMPLETE]
    assert "Traceback" not in capsys.readouterr().err


def test_equal_settings_that_are_tried_at_a_time_are_run_once(runs, tmp_path, monkeypatch):
    def slow(slot, *given):
        time.sleep(0.3)
        return made.Runs._start(runs, *given)

    monkeypatch.setattr(made.child.Slot, "_start", slow)
    argv = [f"--out={tmp_path}", "--search", "n_step=1,3", "--parallel=4", *LENGTH, "--trials=8", "--seeds=1"]
    assert sweep.main(argv) == 0
    assert len(trials(tmp_path)) == 8 and len(runs.made) == 2


def test_trial_of_a_process_that_was_killed_is_tried_again_at_once(runs, tmp_path):
    assert command(tmp_path, "--trials=1", "--seeds=1") == 0
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/study.db")
    lost, alive = (study.ask(study.trials[0].distributions) for _ in range(2))
    presence = locks.Presence(tmp_path / "processes")
    lost.set_user_attr("process", "that of nobody")
    alive.set_user_attr("process", presence.name)
    assert command(tmp_path, "--trials=2", "--seeds=1") == 0
    presence.end()
    found = trials(tmp_path)
    assert [found[1].state, found[2].state] == [STATES.FAIL, STATES.RUNNING]
    assert [one.params for one in found if one.state == STATES.COMPLETE][1] == lost.params


def test_trial_that_was_stopped_is_tried_again_with_its_settings(runs, tmp_path, monkeypatch):
    stop, start = threading.Event(), made.child.Slot._start

    def stopped(slot, logdir, flags, event, look):
        event.set()
        return 143, True

    asked, _ = sweep._parse([f"--out={tmp_path}", *SEARCH, *LENGTH, "--trials=2", "--seeds=1"])
    monkeypatch.setattr(made.child.Slot, "_start", stopped)
    with pytest.raises(made.child.RunStopped):
        asked.run(1, stop)
    monkeypatch.setattr(made.child.Slot, "_start", start)
    assert command(tmp_path, "--trials=2", "--seeds=1") == 0
    first, again, other = trials(tmp_path)
    assert [trial.state for trial in (first, again, other)] == [STATES.FAIL, STATES.COMPLETE, STATES.COMPLETE]
    assert again.params == first.params != other.params and len(runs.made) == 2


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--seeds=2"], "holds a sweep with other seeds: [1]; use a new --out."),
        (["--metric=last"], 'holds a sweep with other metric: "best"; use a new --out.'),
        (["--discount=0.9"], "holds a sweep with other flags"),
        (["--search", "n_step=1,5"], "holds a sweep with other search"),
    ],
)
def test_study_of_another_search_is_refused(argv, expected, runs, tmp_path, capsys):
    assert command(tmp_path, "--trials=1", "--seeds=1") == 0
    search = () if argv[0] == "--search" else SEARCH
    assert command(tmp_path, "--trials=1", "--seeds=1", *argv, search=search) == 2  # the later of two flags counts
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert len(runs.made) == 1


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--seeds=1,1"], "seed 1 is given twice; leave one out."),
        (["--n_step=1"], "--n_step is searched and given; leave one out."),
        (["--eval_period=0"], "--eval_period=0: a sweep needs evaluations during a run; give a period."),
        (["--env=CartPole-v7"], "--env=CartPole-v7 is not a registered environment; did you mean"),
        (["--metric=worst"], "--metric=worst must be one of best, last, mean"),
        (["--trials=0"], "--trials=0 must be a whole number of at least 1."),
        (["--trails=3"], "--trails=3 is an unknown flag; did you mean --trials?"),
        (["--lerning_rate=1"], "--lerning_rate=1 is an unknown flag; did you mean --learning_rate?"),
        (["--space=nothing.yaml"], "--space=nothing.yaml cannot be read: No such file or directory."),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_begun(argv, expected, runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(out, *argv) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(expected), said
    assert not out.exists()


def test_nothing_to_search_is_one_line(capsys, tmp_path):
    assert command(tmp_path / "out", search=()) == 2
    assert capsys.readouterr().err.startswith("nothing is searched: give --search NAME=RANGE or --space=FILE")


def test_directory_that_holds_another_file_of_that_name_is_one_line(runs, tmp_path, capsys):
    (tmp_path / "study.db").write_text("no database")
    assert command(tmp_path, "--trials=1") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f"--out={tmp_path} cannot be used: ")


def test_tensorboard_reads_settings_and_result_of_each_trial(runs, tmp_path):
    from tensorboard.backend.event_processing import data_provider
    from tensorboard.backend.event_processing import plugin_event_multiplexer as event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    search = [*SEARCH, "hidden_units=8;16,16", "double_q=true,false"]
    assert command(tmp_path, "--trials=2", "--seeds=1", search=search) == 0
    multiplexer = event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    asked = api_pb2.ListSessionGroupsRequest(slice_size=10, allowed_statuses=[api_pb2.STATUS_SUCCESS])
    groups = list_session_groups.Handler(RequestContext(), context, "", asked).run().session_groups
    found = [
        {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()} for group in groups
    ]
    expected = [trial.params for trial in trials(tmp_path)]
    assert sorted(map(str, (sorted(one.items()) for one in found))) == sorted(
        map(str, (sorted({**one, "n_step": float(one["n_step"])}.items()) for one in expected))
    )
    assert [[metric.value for metric in group.metric_values] for group in groups] == [[101.0]] * 2


def test_tune_of_the_library_returns_the_study(runs, tmp_path):
    study = tuning.tune(
        tmp_path, {"n_step": "1,3"}, trials=2, seeds=[1], parallel=1, train_env_steps=2000, eval_period=500
    )
    assert study.best_value == 101.0 and (tmp_path / "best.json").exists()
