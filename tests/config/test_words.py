"""The words of a command line: every spelling of an option, and what is said of a wrong one."""

import dataclasses

import pytest

from dqn_tf.config import settings, words
from dqn_tf.config.schema import field


@dataclasses.dataclass(frozen=True)
class _Options:
    max_hours: float = field(24.0, "after which it ends", unit="h", minimum=0.5, maximum=100)
    workers: tuple[int, ...] = field((), "numbers of machines", minimum=1)
    name: str = field("", "of the job", pattern="[a-z]*", words="lower-case letters")
    spot: bool = field(False, "on spot machines")
    notify: bool = field(False, "by mail")
    limit: float | None = field(None, "of something", minimum=0, maximum=1)


KNOWN = settings.of(_Options)


@pytest.mark.parametrize(
    "line, values, rest",
    [
        ("", {}, ""),
        ("--max_hours=2", {"max_hours": 2.0}, ""),
        ("--max-hours 2", {"max_hours": 2.0}, ""),
        ("--max_hours=2 --max_hours=3", {"max_hours": 3.0}, ""),
        ("--workers=1,2", {"workers": (1, 2)}, ""),
        ("--limit=0.5", {"limit": 0.5}, ""),
        ("--name=", {"name": ""}, ""),
        ("--spot", {"spot": True}, ""),
        ("--spot=False", {"spot": False}, ""),
        ("--spot true --name job", {"spot": True, "name": "job"}, ""),
        ("--nospot", {"spot": False}, ""),
        ("--notify", {"notify": True}, ""),
        ("--nonotify", {"notify": False}, ""),
        ("--spot stray", {"spot": True}, "stray"),
        ("--batch-size 8 --spot --seed=1", {"spot": True}, "--batch-size 8 --seed=1"),
        ("--nospot=1 --noname spot", {}, "--nospot=1 --noname spot"),
    ],
)
def test_words_become_values_and_the_rest(line, values, rest):
    assert words.parse(KNOWN, line.split()) == (values, rest.split(), [])


@pytest.mark.parametrize(
    "line, problem",
    [
        ("--max_hours=0", "--max_hours=0 must be a number from 0.5 to 100."),
        ("--max_hours -1", "--max_hours=-1 must be a number from 0.5 to 100."),
        ("--limit=nan", "--limit=nan must be a number from 0 to 1."),
        ("--name=A", "--name=A must be lower-case letters."),
        ("--spot=maybe", "--spot=maybe must be true or false."),
        ("--name", "--name needs a value, --name=...: of the job."),
        ("--name --spot=false", "--name needs a value, --name=...: of the job."),
    ],
)
def test_wrong_option_is_one_line_and_has_no_value(line, problem):
    values, rest, problems = words.parse(KNOWN, line.split())
    assert (values.keys() & {"max_hours", "limit", "name"}, rest, problems) == (set(), [], [problem])


@pytest.mark.parametrize(
    "word, line",
    [
        ("--max-hour=2", "--max-hour=2 is an unknown flag; did you mean --max_hours?"),
        ("--zzz", "--zzz is an unknown flag; see --help."),
        ("spot", "spot is not a flag; see --help."),
    ],
)
def test_unknown_word_is_told_with_the_nearest_option(word, line):
    assert words.unknown([word], list(KNOWN)) == [line]


def test_description_has_help_default_and_unit():
    assert words.describe(KNOWN["max_hours"], " (Slurm)") == [
        "  --max_hours",
        "      after which it ends (Slurm) [default: 24.0; unit: h]",
    ]
