"""The price file: what is in it, what is refused, and what an hour costs."""

import dataclasses
import datetime
import json
import pathlib
import re

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.cost import prices
from tests.jobs.jobs import make_machine

N1 = make_machine(
    usd_per_hour=0.5,
    usd_per_hour_spot=0.25,
    gpu_usd_per_hour=0.4,
    gpu_usd_per_hour_spot=0.125,
    source="made up",
    date="2026-01-31",
)
M5 = dataclasses.replace(
    N1, platform="sagemaker", name="ml.m5.xlarge", region="us-east-1", gpus=0, gpu="", usd_per_hour_spot=None
)


# Each example writes its files anew, and a busy machine is no failure.
ANY = hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1e-320, 5e-324, 2**63, True])
JSON = st.recursive(
    st.none() | NUMBERS | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def written(tmp_path, *entries):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"machines": entries}))
    return str(path)


def said(function, *arguments):
    """Returns the one line of a mistake."""
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestShippedFile:
    def test_loads_and_says_of_each_machine_where_and_when(self):
        machines = prices.load()
        today = datetime.date.today()
        for machine in machines:
            assert len(machine.source) > 20
            assert datetime.date(2020, 1, 1) <= datetime.date.fromisoformat(machine.date) <= today
            assert 0 < machine.usd_per_hour < 100
            assert machine.usd_per_hour_spot is None or 0 < machine.usd_per_hour_spot < machine.usd_per_hour

    def test_names_repository_and_path_or_address_of_each_source(self):
        for machine in prices.load():
            sources = re.findall(r"github\.com/[\w.-]+/[\w.-]+ [\w./-]+\.\w+", machine.source)
            assert sources or "raw.githubusercontent.com/" in machine.source, machine.source
            assert " public " not in machine.source

    @pytest.mark.parametrize(
        ("platform", "region"),
        [("vertex", "us-central1"), ("sagemaker", "us-east-1"), ("azureml", "eastus"), ("kubernetes", "us-east-1")],
    )
    def test_has_six_machines_and_one_with_a_gpu_of_each_platform(self, platform, region):
        found = prices.select(prices.load(), platform, "", region)
        assert len(found) >= 6
        assert any(machine.gpus for machine in found)

    def test_vertex_price_is_compute_engines_and_its_fee(self):
        # The published price of n1-standard-4, 0.21849885, is 1.15 of 0.189999; the others are made by that rule.
        machines = prices.load()
        for name in ("n1-standard-4", "n1-standard-8", "e2-standard-8", "n2-standard-4", "g2-standard-4"):
            vertex, plain = (prices.find(machines, p, name, "us-central1") for p in ("vertex", "kubernetes"))
            assert vertex.usd_per_hour == pytest.approx(1.15 * plain.usd_per_hour, abs=1e-6)


class TestLoad:
    def test_own_file_is_read_as_it_is(self, tmp_path):
        assert prices.load(written(tmp_path, *map(dataclasses.asdict, (N1, M5)))) == [N1, M5]

    @pytest.mark.parametrize(
        ("field", "value", "wanted"),
        [
            ("platform", "gcp", "one of vertex, sagemaker, azureml, kubernetes"),
            ("cores", 0, "a whole number from 1 to 9999"),
            ("cores", 4.0, "a whole number from 1 to 9999"),
            ("cores", 10**400, "a whole number from 1 to 9999"),
            ("gpus", True, "a whole number from 0 to 9999"),
            ("memory_gb", "16", "a number from 0 to 1e+15"),
            ("usd_per_hour", -0.01, "a number from 0 to 1e+15"),
            ("usd_per_hour", float("nan"), "a number from 0 to 1e+15"),
            ("usd_per_hour", 10**400, "a number from 0 to 1e+15"),
            ("usd_per_hour", 1e-320, "a number from 0 to 1e+15"),
            ("usd_per_hour", None, "a number from 0 to 1e+15"),
            ("usd_per_hour_spot", float("inf"), "a number from 0 to 1e+15, or null"),
            ("gpu_usd_per_hour", -1, "a number from 0 to 1e+15"),
            ("region", " ", "a text of one line"),
            ("source", "", "a text of one line"),
            ("source", "made\nup", "a text of one line"),
            ("region", "\ud800", "a text of one line"),
            ("date", "2026-02-30", "a day, YYYY-MM-DD"),
            ("date", "20260131", "a day, YYYY-MM-DD"),
        ],
    )
    def test_wrong_field_is_named_with_file_and_entry(self, tmp_path, field, value, wanted):
        path = written(tmp_path, dataclasses.asdict(M5), {**dataclasses.asdict(N1), field: value})
        line = said(prices.load, path)
        assert line.startswith(f"--prices={path}: machines[1] (n1-standard-8): {field}=")
        assert line.endswith(f" must be {wanted}.")

    def test_mark_before_the_text_is_no_mistake(self, tmp_path):
        path = written(tmp_path, dataclasses.asdict(N1))
        (tmp_path / "marked.json").write_text((tmp_path / "mine.json").read_text(), encoding="utf-8-sig")
        assert prices.load(str(tmp_path / "marked.json")) == prices.load(path)

    @ANY
    @given(change=JSON, field=st.sampled_from([field.name for field in dataclasses.fields(prices.Machine)]))
    def test_any_json_is_a_price_file_or_one_line(self, tmp_path, change, field):
        for tree in (change, {"machines": change}, {"machines": [{**dataclasses.asdict(N1), field: change}]}):
            (tmp_path / "any.json").write_text(json.dumps(tree))
            try:
                machines = prices.load(str(tmp_path / "any.json"))
            except ConfigError as error:
                assert str(error).isprintable()
            else:
                assert all(text.isprintable() for machine in machines for text in map(str, vars(machine).values()))
                assert all(prices.cost_per_hour(machine, 0, False) <= 1e15 for machine in machines)

    def test_missing_and_unknown_fields_are_named(self, tmp_path):
        entry = dataclasses.asdict(N1)
        assert "machines[0]: mips is no field; there are platform," in said(
            prices.load, written(tmp_path, {**entry, "mips": 1})
        )
        assert "machines[0]: 'mi\\nps' is no field;" in said(prices.load, written(tmp_path, {**entry, "mi\nps": 1}))
        del entry["region"]
        assert said(prices.load, written(tmp_path, entry)).endswith("machines[0]: region is missing.")

    def test_gpus_without_a_kind_are_refused(self, tmp_path):
        entry = {**dataclasses.asdict(N1), "gpu": ""}
        assert said(prices.load, written(tmp_path, entry)).endswith("gpus=4 and gpu='' contradict.")

    def test_machine_that_is_there_twice_is_refused(self, tmp_path):
        twice = [dataclasses.asdict(N1)] * 2
        assert "machines[1] is vertex n1-standard-8 us-central1 for the second time" in said(
            prices.load, written(tmp_path, *twice)
        )

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("{", "it is not JSON"),
            ("[]", "not an object"),
            ("{}", '"machines" must be a list'),
            ('{"machines": []}', "at least one machine"),
            ('{"machines": [3]}', "machines[0] must be an object with platform, name"),
        ],
    )
    def test_file_of_another_kind_is_refused(self, tmp_path, text, reason):
        (tmp_path / "mine.json").write_text(text)
        assert reason in said(prices.load, str(tmp_path / "mine.json"))

    def test_absent_file_is_named(self, tmp_path):
        assert said(prices.load, f"{tmp_path}/no.json") == (
            f"--prices={tmp_path}/no.json cannot be read: No such file or directory."
        )


class TestFind:
    MACHINES = [N1, M5, dataclasses.replace(M5, region="eu-west-1")]

    def test_finds_by_platform_name_and_region(self):
        assert prices.find(self.MACHINES, "sagemaker", "ml.m5.xlarge", "us-east-1") is M5

    def test_unknown_name_suggests_near_ones_and_the_option(self):
        line = said(prices.find, self.MACHINES, "sagemaker", "ml.m5.xlarg", "us-east-1")
        assert line == (
            "--machine=ml.m5.xlarg is not in the price file for sagemaker; nearest: ml.m5.xlarge; "
            f"copy {pathlib.Path(prices.__file__).parent}/prices.json, change the copy and give --prices=COPY."
        )

    def test_unknown_region_lists_those_of_the_machine(self):
        line = said(prices.find, self.MACHINES, "sagemaker", "ml.m5.xlarge", "us-central1")
        assert "--region=us-central1 is not in the price file for ml.m5.xlarge, which has eu-west-1, us-east-1;" in line
        assert line.endswith("/dqn_tf/jobs/cost/prices.json, change the copy and give --prices=COPY.")

    def test_unknown_platform_lists_those_there_are(self):
        assert "which has sagemaker, vertex;" in said(prices.find, self.MACHINES, "azureml", "x", "y")

    def test_region_that_is_left_open_must_be_the_only_one(self):
        assert prices.find(self.MACHINES, "vertex", "n1-standard-8", "") is N1
        assert said(prices.find, self.MACHINES, "sagemaker", "ml.m5.xlarge", "") == (
            "--region is missing: the price file has ml.m5.xlarge in eu-west-1, us-east-1."
        )


class TestCostPerHour:
    @pytest.mark.parametrize(
        ("gpus", "spot", "usd"),
        [(0, False, 0.5), (2, False, 0.5 + 2 * 0.4), (0, True, 0.25), (4, True, 0.25 + 4 * 0.125)],
    )
    def test_is_the_machine_and_its_gpus(self, gpus, spot, usd):
        assert prices.cost_per_hour(N1, gpus, spot) == pytest.approx(usd)

    def test_gpus_in_the_price_cost_nothing_more(self):
        machine = dataclasses.replace(N1, gpu_usd_per_hour=0, gpu_usd_per_hour_spot=0)
        assert [prices.cost_per_hour(machine, gpus, True) for gpus in (0, 4)] == [0.25, 0.25]

    def test_more_gpus_than_it_has_are_refused(self):
        line = said(prices.cost_per_hour, N1, 5, False)
        assert line == "--gpus=5 is more than the 4 NVIDIA_TESLA_T4 that n1-standard-8 of vertex in us-central1 has."
        assert said(prices.cost_per_hour, M5, 1, False).startswith("--gpus=1 is more than the 0 that ml.m5.xlarge of")

    def test_spot_without_a_price_is_refused(self):
        line = "--spot: the price file has no spot price for"
        assert said(prices.cost_per_hour, M5, 0, True) == f"{line} ml.m5.xlarge of sagemaker in us-east-1."
        unknown = dataclasses.replace(N1, gpu_usd_per_hour_spot=0)
        assert prices.cost_per_hour(unknown, 0, True) == 0.25
        assert said(prices.cost_per_hour, unknown, 1, True) == f"{line} n1-standard-8 of vertex in us-central1."


class TestHaving:
    GKE = dataclasses.replace(N1, platform="kubernetes", gpus=0, gpu="")
    DEAR = dataclasses.replace(N1, usd_per_hour_spot=None)

    def test_leaves_those_that_have_it(self):
        assert prices.having([self.DEAR, self.GKE], 0, True) == [self.GKE]
        assert prices.having([self.DEAR, self.GKE], 1, False) == [self.DEAR]
        assert prices.having([self.DEAR, self.GKE], 0, False) == [self.DEAR, self.GKE]

    def test_none_that_has_it_is_refused_with_all_of_them(self):
        other = dataclasses.replace(self.GKE, usd_per_hour_spot=None)
        assert said(prices.having, [self.DEAR, other], 0, True) == (
            "--spot: the price file has no spot price for n1-standard-8 of vertex in us-central1. "
            "Nor has that of kubernetes in us-central1."
        )
