"""The price file: what the sample says of itself, and what is refused of a file of the user's."""

import datetime
import json
import re

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.cost import prices

MACHINE = dict(
    platform="kubernetes",
    name="my-node",
    region="my-room",
    cores=16,
    memory_gb=64,
    usd_per_hour=0.5,
    date="2026-01-31",
)
# Each example writes its file anew, and a busy machine is no failure.
ANY = hypothesis.settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 1e-320, True])
JSON = st.recursive(
    st.none() | NUMBERS | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def written(tmp_path, *entries, **more):
    (tmp_path / "mine.json").write_text(json.dumps({"machines": entries, **more}))
    return f"{tmp_path}/mine.json"


def said(path):
    """Returns the one line of a mistake."""
    with pytest.raises(ConfigError) as caught:
        prices.load(path)
    (line,) = caught.value.problems
    return line.removeprefix(f"--prices={path}")


def test_sample_says_that_it_is_one_and_of_each_price_when_and_where_it_was_read():
    machines, source = prices.load()
    dates = [machine.date for machine in machines]
    assert source.startswith(f"a small SAMPLE of {min(dates)} to {max(dates)}, not live; give your own with --prices=")
    assert {machine.platform for machine in machines} == set(prices.PLATFORMS)
    for machine in machines:
        assert "2020-01-01" <= machine.date <= datetime.date.today().isoformat()
        assert re.search(r"github\.com/[\w.-]+/[\w.-]+ [\w./-]+\.\w+, commit [0-9a-f]{12}", machine.source)
        assert " x " not in machine.source  # a price that is computed from another one


def test_own_file_is_read_as_it_is(tmp_path):
    (machine,), source = prices.load(written(tmp_path, {**MACHINE, "gpus": 1, "usd_per_hour_spot": 0.25}))
    assert {name: getattr(machine, name) for name in MACHINE} == MACHINE
    assert (machine.gpus, machine.usd_per_hour_spot, source) == (1, 0.25, f"{tmp_path}/mine.json")


def test_copy_of_the_sample_is_one_too_until_its_mark_is_removed(tmp_path):
    assert "SAMPLE of 2026-01-31" in prices.load(written(tmp_path, MACHINE, sample=True))[1]


@pytest.mark.parametrize(
    "change, line",
    [
        (dict(platform="gcp"), "--platform=gcp must be one of vertex, sagemaker, azureml, kubernetes."),
        (dict(cores=0), "--cores=0 must be a whole number from 1 to 9999."),
        (dict(cores=True), "--cores=true must be a whole number from 1 to 9999."),
        (dict(usd_per_hour=float("nan")), "--usd_per_hour=nan must be a number from 0 to 1000000."),
        (dict(usd_per_hour=None), "--usd_per_hour=None must be a number from 0 to 1000000."),
        (dict(usd_per_hour_spot=-1), "--usd_per_hour_spot=-1 must be a number from 0 to 1000000."),
        (dict(region=" "), "--region=  must be text of one line."),
        (dict(source="made\nup"), "--source=made\\nup must be text of one line."),
        (dict(date="20260131"), "--date=20260131 must be a day, YYYY-MM-DD."),
    ],
)
def test_wrong_field_is_named_with_file_and_entry(tmp_path, change, line):
    assert said(written(tmp_path, MACHINE, {**MACHINE, **change})) == f": machines[1]: {line}"


@pytest.mark.parametrize("entry", [3, {**MACHINE, "mips": 1}, {"platform": "vertex"}])
def test_entry_with_other_fields_says_which_there_are(tmp_path, entry):
    line = said(written(tmp_path, entry))
    assert line.startswith(": machines[0] must have platform, name, region, cores, memory_gb, usd_per_hour, date, and ")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", " cannot be read: it is not JSON."),
        ("[]", " cannot be read: it is JSON, but not an object."),
        ('{"machines": []}', ': "machines" must be a list of at least one machine.'),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, text, reason):
    (tmp_path / "mine.json").write_text(text)
    assert said(f"{tmp_path}/mine.json") == reason


@ANY
@given(change=JSON, name=st.sampled_from([*MACHINE, "machines"]))
def test_any_json_is_a_price_file_or_lines(tmp_path, change, name):
    (tmp_path / "mine.json").write_text(json.dumps({"machines": [{**MACHINE, name: change}], name: change}))
    try:
        prices.load(f"{tmp_path}/mine.json")
    except ConfigError as error:
        assert all(line.isprintable() for line in error.problems)
