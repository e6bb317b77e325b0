"""What a command makes of the user's shell and home, whatever other projects have left there."""

import os
import pathlib
import subprocess
import sys

import pytest

from dqn_tf.config import schema
from dqn_tf.process import startup
from tests import runs

ROOT = str(runs.ROOT)
INSTALLED = "/usr/lib/installed"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Returns the current directory, of a process in which `prepare` may be called."""
    monkeypatch.chdir(tmp_path)
    for name in (*startup._VARIABLES, "KERAS_BACKEND"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return tmp_path


@pytest.mark.parametrize("path", [[ROOT, INSTALLED], ["", INSTALLED, ROOT], [INSTALLED, ROOT], [ROOT, INSTALLED, ROOT]])
def test_modules_are_looked_for_where_installed_then_here_then_beside_the_program(here, monkeypatch, path):
    monkeypatch.setattr(sys, "path", path)
    startup.prepare(ROOT)
    assert sys.path == [INSTALLED, str(here), ROOT]


def test_modules_beside_a_program_elsewhere_are_found_last(here, monkeypatch, tmp_path_factory):
    program = str(tmp_path_factory.mktemp("app"))
    monkeypatch.setattr(sys, "path", [program, ROOT, INSTALLED])
    startup.prepare(program)
    assert sys.path == [INSTALLED, str(here), program, ROOT]


def test_modules_in_a_plain_folder_are_not_hidden_by_a_package_of_the_checkout(here, monkeypatch):
    (here / "tests").mkdir()
    monkeypatch.setattr(sys, "path", [ROOT, INSTALLED])
    startup.prepare(ROOT)
    assert sys.path == [INSTALLED, str(here)]


def test_modules_are_looked_for_in_the_checkout_where_the_command_is_given_there(monkeypatch):
    monkeypatch.setattr(sys, "path", [ROOT, INSTALLED])
    monkeypatch.chdir(ROOT)
    startup.prepare(ROOT)
    assert sys.path == [INSTALLED, ROOT]


def test_prepare_takes_keras_with_tensorflow_and_keeps_what_else_is_set(here, monkeypatch):
    monkeypatch.setattr(sys, "path", [INSTALLED])
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    startup.prepare()
    assert (os.environ["KERAS_BACKEND"], os.environ["OPENBLAS_NUM_THREADS"]) == ("tensorflow", "7")


def test_prepare_allows_as_many_open_files_as_there_may_be():
    code = "from dqn_tf.process import startup; startup.prepare()"
    code += "; import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE))"
    limited = ["bash", "-c", 'ulimit -Sn 32 && ulimit -Hn 99 && exec "$@"', "bash", sys.executable, "-c", code]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "(99, 99)\n", done.stderr


def test_load_keras_sets_what_keras_json_has_set_otherwise_and_says_so(caplog):
    import keras

    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    startup.load_keras()
    assert (keras.config.image_data_format(), keras.config.floatx()) == ("channels_last", "float32")
    assert [record.getMessage() for record in caplog.records] == [
        "keras: floatx=float64 of keras.json is not used here, but float32",
        "keras: image_data_format=channels_first of keras.json is not used here, but channels_last",
    ]


def test_load_keras_with_another_backend_is_refused(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(schema.ConfigError, match="has started Keras with the backend jax; this program needs tensorf"):
        startup.load_keras()


def test_load_keras_whose_settings_are_damaged_is_refused(tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text('{"floatx": "foo"}')
    (tmp_path / "keras.py").write_text("raise ValueError('Invalid `floatx` configuration.')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(schema.ConfigError) as error:
        startup.load_keras()
    assert error.value.problems == (
        f"Keras cannot be started with {tmp_path}/keras.json: ValueError: Invalid `floatx` configuration.; "
        "correct or remove it.",
    )


@pytest.mark.parametrize("encoding, again", [("utf-8", 0), ("ascii", 1), ("iso8859-1", 1)])
def test_command_starts_again_where_names_of_files_are_not_in_utf_8(monkeypatch, encoding, again):
    started = []
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(os.environ["PYTHONUTF8"]))
    startup.use_utf8()
    assert started == ["1"] * again


def test_help_without_docstrings_is_the_same():
    code = "from dqn_tf.config import flags; print(flags.markdown(), end='')"
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    made = subprocess.run([sys.executable, "-OO", "-c", code], cwd=ROOT, env=environ, capture_output=True, timeout=60)
    assert made.stdout.decode() == (pathlib.Path(ROOT) / "docs" / "flags.md").read_text(encoding="utf-8")


GAMES = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

gymnasium.register("Übung-v0", entry_point="tests.games:CartPoleEnv", max_episode_steps=9)
"""


@pytest.mark.thorough
def test_run_in_another_projects_shell_comes_to_the_same_weights(tmp_path):
    """Its folder `tests` is no package, its Keras another one, and its locale knows no umlaut."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "games.py").write_text(GAMES, encoding="utf-8")
    (tmp_path / "keras.json").write_text('{"floatx": "float64", "image_data_format": "channels_first"}')
    keras = dict(KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path), TF_USE_LEGACY_KERAS="1")
    strange = dict(LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii", PYTHONPATH="", **keras)
    flags = [*runs.SMALL, "--train_env_steps=400", "--num_envs=2", "--eval_period=0", "--env=tests.games:Übung-v0"]
    processes = [
        runs.start(
            *flags, f"--vectorization={kind}", f"--logdir=Ü {kind}", before=["env", f"--chdir={tmp_path}"], **variables
        )
        for kind, variables in {"async": strange, "sync": {}}.items()
    ]
    done = [runs.finish(process) for process in processes]
    assert [one.returncode for one in done] == [0, 0], done
    assert runs.bits(tmp_path / "Ü async") == runs.bits(tmp_path / "Ü sync")
