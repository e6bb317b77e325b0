"""The lines of docs/clouds/ do what they say: job files are made, and the lines that follow are those printed."""

import pathlib
import re
import shlex

import pytest

from dqn_tf.jobs import command, targets

DOCUMENTS = sorted((pathlib.Path(__file__).parents[2] / "docs" / "clouds").glob("*.md"))
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
BLOCKS = [block.split("\n") for block in re.findall(r"(?:^    \S.*\n?)+", TEXT, re.MULTILINE)]
PROGRAM = "    python -m dqn_tf.jobs "
JOBS = {block[0].split()[3]: block for block in BLOCKS if block[0].startswith(PROGRAM) and "estimate" not in block[0]}


def test_every_platform_has_its_lines():
    assert JOBS.keys() == targets.TARGETS.keys()


@pytest.mark.parametrize("platform", JOBS)
def test_lines_of_a_platform_are_those_that_are_printed(platform, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line, *others = [line.strip().replace("IMAGE", "registry.example/dqn:1") for line in JOBS[platform] if line.strip()]
    line, *others = [text.replace("BUCKET", "my-bucket") for text in (line, *others)]
    line = line.replace("arn:aws:iam::ACCOUNT:role/ROLE", "arn:aws:iam::123456789012:role/dqn")
    assert command.main(shlex.split(line)[3:]) == 0
    printed = [text.strip() for text in capsys.readouterr().out.splitlines()]
    assert others and [text for text in others if text not in printed] == []


DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
MADE = [line.strip() for line in (DEPLOY / "README.md").read_text(encoding="utf-8").splitlines() if PROGRAM in line]


def test_job_files_of_every_platform_are_in_deploy():
    assert {line.split()[3] for line in MADE} == targets.TARGETS.keys()


@pytest.mark.parametrize("line", MADE, ids=lambda line: line.split()[3])
def test_job_files_in_deploy_are_those_that_are_made(line, tmp_path, capsys):
    words = shlex.split(line)[3:]
    assert words[-1] == f"--output=deploy/{words[0]}"
    assert command.main([*words[:-1], f"--output={tmp_path}"]) == 0
    kept = {path.name: path.read_text(encoding="utf-8") for path in (DEPLOY / words[0]).iterdir()}
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == kept
