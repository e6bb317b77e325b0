"""What pip installs, without the checkout: from the sdist a wheel, from the wheel the commands."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests import marks, runs

SOURCES = ["dqn_tf", "train.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Returns the directory into which the wheel has been installed, which was built from the sdist."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path, target = runs.ROOT / name, source / name
        shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
    make = "from setuptools import build_meta; build_meta.build_sdist('..')"
    run(source, sys.executable, "-c", make)
    (sdist,) = folder.glob("dqn_tf-*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(folder, *pip, "wheel", "--no-deps", "--no-build-isolation", str(sdist))
    (wheel,) = folder.glob("dqn_tf-*.whl")
    run(folder, *pip, "install", "--no-deps", "--target", str(folder / "installed"), str(wheel))
    return folder / "installed"


def run(folder, *words, **environment):
    """Returns the output of a command in a directory; it has succeeded."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=runs.SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "words, flags",
    [
        (["bin/dqn-tf"], ["--vectorization=async"]),
        *marks.thorough((["-m", "dqn_tf"], ["--strategy=multiworker"])),
    ],
)
def test_installed_command_trains_where_there_is_no_checkout(installed, tmp_path, words, flags):
    words = [str(installed / words[0])] if len(words) == 1 else words
    environment = {"PYTHONPATH": str(installed), "CUDA_VISIBLE_DEVICES": "-1"}
    output = run(tmp_path, sys.executable, *words, *runs.SMALL, *flags, "--logdir=run", **environment)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["env_steps"] == 1200, output


def test_installed_package_is_the_one_that_is_tested(installed, tmp_path):
    program = "import dqn_tf; print(dqn_tf.__file__)"
    path = run(tmp_path, sys.executable, "-c", program, PYTHONPATH=str(installed)).strip()
    assert pathlib.Path(path).parent == installed / "dqn_tf"


def test_installed_jobs_have_their_data(installed, tmp_path):
    words = ["-m", "dqn_tf.jobs", "estimate", "--env=CartPole-v1"]
    assert "CartPole-v1, 50,000 env steps" in run(tmp_path, sys.executable, *words, PYTHONPATH=str(installed))


def test_licence_is_in_the_wheel(installed):
    assert [path for path in installed.glob("dqn_tf-*.dist-info/**/LICENSE*") if "Apache" in path.read_text()]
