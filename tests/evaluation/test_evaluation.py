"""The command that evaluates a finished run again, and films it."""

import importlib.util
import json
import os
import shutil

import pytest

from dqn_tf.evaluation import __main__, evaluator, finished_run, video
from tests import runs

PROGRAM = ("-m", "dqn_tf.evaluation")


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    """Returns the directory of a finished run."""
    return train(tmp_path_factory.mktemp("finished") / "run", "--train_env_steps=400")


def command(*argv, **environment):
    return runs.finish(runs.start(*argv, program=PROGRAM, **environment))


def mistake(capsys, *argv):
    """Returns the line that a wrong command writes; it writes nothing else."""
    assert __main__.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.removesuffix("\n")


@pytest.fixture(scope="module")
def evaluated(finished):
    return command(f"--logdir={finished}", "--episodes=30", "--seed=5")


def test_evaluation_of_a_finished_run_prints_its_returns_as_json(evaluated):
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads(evaluated.stdout)
    assert list(result) == ["env", "eval_return_mean", "eval_return_std", "eval_return_max", "eval_episodes"]
    assert (result["env"], result["eval_episodes"]) == ("CartPole-v1", 30)
    assert 0 < result["eval_return_mean"] <= result["eval_return_max"] <= 500


def test_evaluation_by_function_gives_the_same_as_the_command(evaluated, finished, capsys):
    assert __main__.main([f"--logdir={finished}", "--episodes=30", "--seed=5"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(evaluated.stdout)


def test_evaluation_knows_the_home_directory_and_refuses_what_is_not_utf_8(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mistake(capsys, "--logdir=~/run").startswith(f"--logdir={tmp_path}/run holds no run")
    for name in ("logdir", "video"):
        line = mistake(capsys, "--logdir=run", f"--{name}=caf\udce9")
        assert line == f"--{name}=caf\\udce9 must be UTF-8, as all names of files here."


def test_evaluation_of_episodes_that_are_cut_counts_their_steps(finished, capsys):
    argv = [f"--logdir={finished}", "--episodes=3", "--max_episode_steps=2"]
    assert __main__.main(argv) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["eval_return_mean"], result["eval_return_std"], result["eval_return_max"]) == (2.0, 0.0, 2.0)


def test_evaluation_with_epsilon_explores_as_the_seed_says(finished, evaluated, capsys):
    def result(*argv):
        assert __main__.main([f"--logdir={finished}", "--episodes=30", "--seed=5", *argv]) == 0
        return json.loads(capsys.readouterr().out)

    assert result("--epsilon=0") == json.loads(evaluated.stdout)
    assert result("--epsilon=0.5") == result("--epsilon=0.5") != json.loads(evaluated.stdout)
    random = result("--epsilon=1")["eval_return_mean"]
    assert 15 < random < 35  # CartPole's random policy holds the pole for 22 steps, by 100,000 episodes; of 30 here


def test_evaluation_of_a_run_from_before_there_was_atari_plays_it(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    config = runs.read_json(tmp_path / "config.json")
    del config["atari"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert __main__.main([f"--logdir={tmp_path}", "--episodes=1"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_episodes"] == 1


def test_evaluation_leaves_the_run_as_it_is(finished, capsys):
    def contents():
        return {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}

    before = contents()
    assert __main__.main([f"--logdir={finished}", "--episodes=1"]) == 0
    assert contents() == before


@pytest.mark.parametrize(
    "argv, line",
    [
        ([], "--logdir is missing: directory of the run; see --help."),
        (["--logdir=/no/run"], "--logdir=/no/run holds no run: config.json is missing or cannot be read."),
        (["--logdir=x", "--episodes=0"], "--episodes=0 must be a whole number of at least 1."),
        (["--logdir=x", "--episodes=-3"], "--episodes=-3 must be a whole number of at least 1."),
        (["--logdir=x", "--episodes=ten"], "--episodes=ten must be a whole number of at least 1."),
        (["--logdir=x", "--max_episode_steps=0"], "--max_episode_steps=0 must be a whole number of at least 1."),
        (["--logdir=x", "--epsilon=1.5"], "--epsilon=1.5 must be a number from 0 to 1."),
        (["--logdir=x", "--epsilon=-0.1"], "--epsilon=-0.1 must be a number from 0 to 1."),
        (["--logdir=x", "--epsilon=nan"], "--epsilon=nan must be a number from 0 to 1."),
        (["--logdir=x", "--seed=-1"], "--seed=-1 must be a whole number from 0 to 2147483647."),
        (["--logdir=x", "--sed=1"], "--sed=1 is an unknown flag; did you mean --seed?"),
    ],
)
def test_evaluation_of_a_wrong_command_says_what_is_wrong(capsys, argv, line):
    assert mistake(capsys, *argv) == line


@pytest.mark.parametrize(
    "contents", ["{", "[]", "{}", '{"run": {}}', '{"run": []}', '{"run": {"env": 7}}', '{"a":' * 9999], ids=range(7)
)
def test_evaluation_of_a_damaged_config_says_so(capsys, tmp_path, contents):
    (tmp_path / "config.json").write_text(contents)
    line = f"--logdir={tmp_path} holds no run: config.json is missing or cannot be read."
    assert mistake(capsys, f"--logdir={tmp_path}") == line


def test_evaluation_of_a_run_that_is_not_finished_says_so(capsys, finished, tmp_path):
    shutil.copy(finished / "config.json", tmp_path)
    path = tmp_path / "model" / "q_network.keras"
    assert mistake(capsys, f"--logdir={tmp_path}") == f"--logdir={tmp_path} holds no finished run: there is no {path}."


def test_evaluation_of_an_environment_that_is_gone_names_the_nearest(capsys, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    config = runs.read_json(tmp_path / "config.json")
    config["run"]["env"] = "CartPol-v1"
    (tmp_path / "config.json").write_text(json.dumps(config))
    line = "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?"
    assert mistake(capsys, f"--logdir={tmp_path}") == line


def test_evaluation_of_a_damaged_model_says_so(capsys, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model" / "q_network.keras"
    path.write_bytes(path.read_bytes()[:1000])
    line = mistake(capsys, f"--logdir={tmp_path}")
    assert line.startswith(f"--logdir={tmp_path}: {path} cannot be loaded: ") and "\n" not in line


@pytest.mark.parametrize("name", ["config.json", "model/q_network.keras"])
def test_evaluation_of_what_is_no_file_says_so_at_once(capsys, finished, tmp_path, name):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert mistake(capsys, f"--logdir={tmp_path}") == (
        f"--logdir={tmp_path} holds no run: config.json is missing or cannot be read."
        if name == "config.json"
        else f"--logdir={tmp_path}: {tmp_path}/{name} cannot be loaded: it is not a regular file."
    )


def test_evaluation_of_the_model_of_another_environment_says_so(capsys, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    tree = runs.read_json(tmp_path / "config.json")
    tree["run"]["env"] = "Acrobot-v1"
    (tmp_path / "config.json").write_text(json.dumps(tree))
    line = mistake(capsys, f"--logdir={tmp_path}")
    assert line.startswith(f"--logdir={tmp_path}: {tmp_path}/model/q_network.keras cannot be loaded: ")


def test_evaluation_of_a_wrong_command_does_not_import_tensorflow(without_tensorflow):
    process = command("--logdir=/no/run", PYTHONPATH=without_tensorflow)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "--logdir=/no/run holds no run: config.json is missing or cannot be read.\n"


def test_help_of_the_evaluation_names_its_options():
    process = command("--help")
    assert process.returncode == 0
    names = ("logdir", "episodes", "seed", "max_episode_steps", "video", "epsilon")
    assert all(f"--{name}" in process.stdout for name in names)


def missing(package, tmp_path):
    """Returns a directory of modules in which `package` cannot be imported."""
    (tmp_path / "modules" / package).mkdir(parents=True)
    (tmp_path / "modules" / package / "__init__.py").write_text(f"raise ImportError('no {package}')\n")
    return str(tmp_path / "modules")


def is_installed(package):
    return importlib.util.find_spec(package) is not None


@pytest.mark.parametrize(
    "package",
    [
        "moviepy",
        pytest.param("pygame", marks=pytest.mark.skipif(not is_installed("moviepy"), reason="moviepy is asked first")),
    ],
)
def test_video_without_a_package_says_what_to_install(finished, tmp_path, package):
    argv = [f"--logdir={finished}", "--episodes=1", f"--video={tmp_path}/film"]
    runs.without_tensorflow(tmp_path / "modules")
    process = command(*argv, PYTHONPATH=missing(package, tmp_path))
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith("--video needs a package that is not installed: ")
    assert line.endswith("; pip install -e '.[video]' has all.") and package in line
    assert not (tmp_path / "film").exists()


@pytest.mark.skipif(not is_installed("moviepy"), reason="moviepy is asked first")
@pytest.mark.parametrize("env_id", ["Mute-v0", "Blind-v0"])
def test_video_of_an_environment_that_draws_no_pictures_says_so(capsys, finished, tmp_path, env_id):
    # Mute knows no render_mode, Blind takes it and renders nothing.
    shutil.copytree(finished, tmp_path / "run")
    config = runs.read_json(tmp_path / "run" / "config.json")
    config["run"]["env"] = f"tests.environments:{env_id}"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    argv = [f"--logdir={tmp_path}/run", "--episodes=1", f"--video={tmp_path}/film"]
    assert mistake(capsys, *argv) == (
        f"--logdir={tmp_path}/run is a run that names a module, which would be imported; "
        f"add --env=tests.environments:{env_id} to trust it."
    )
    line = mistake(capsys, *argv, f"--env=tests.environments:{env_id}")
    assert line.startswith(f"--video: tests.environments:{env_id} draws no pictures") and "\n" not in line
    assert not (tmp_path / "film").exists()


@pytest.mark.skipif(not (is_installed("pygame") and is_installed("moviepy")), reason="needs the extra [video]")
def test_video_to_where_nothing_can_be_written_says_so(capsys, finished, tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    (tmp_path / "file").write_text("")
    argv = [f"--logdir={finished}", "--episodes=1", "--max_episode_steps=2", f"--video={tmp_path}/file/film"]
    assert mistake(capsys, *argv) == f"--video={tmp_path}/file/film cannot be written: Not a directory."


@pytest.mark.skipif(not (is_installed("pygame") and is_installed("moviepy")), reason="needs the extra [video]")
def test_video_of_a_finished_run_is_an_mp4(finished, tmp_path):
    process = command(f"--logdir={finished}", "--episodes=1", f"--video={tmp_path}/film", SDL_VIDEODRIVER="dummy")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["eval_episodes"] == 1
    (film,) = (tmp_path / "film").iterdir()
    assert film.suffix == ".mp4" and film.read_bytes()[4:8] == b"ftyp"


def test_evaluation_explores_and_ends_as_the_run_did_unless_told_otherwise(finished, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    tree = runs.read_json(copy / "config.json")
    tree["evaluation"] |= {"eval_epsilon": 0.25, "eval_max_episode_steps": 3}
    (copy / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    made, films = [], []

    class Evaluator(evaluator.Evaluator):
        def __init__(self, environments, num_episodes, max_episode_steps, epsilon):
            made.append((max_episode_steps, epsilon))
            super().__init__(environments, num_episodes, max_episode_steps, epsilon)

    monkeypatch.setattr(finished_run, "Evaluator", Evaluator)
    monkeypatch.setattr(video, "check", lambda *_: None)
    monkeypatch.setattr(video, "record", lambda *arguments: films.append((arguments[3], arguments[5])))
    others = ["--max_episode_steps=5", "--epsilon=1"]
    for argv in ([], others):
        assert __main__.main([f"--logdir={copy}", "--episodes=1", "--video=film", *argv]) == 0
    assert made == films == [(3, 0.25), (5, 1.0)]
