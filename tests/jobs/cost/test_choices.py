"""The machines to choose from: cost by hand arithmetic, and which is the cheapest in time."""

import dataclasses

import pytest

from dqn_tf.jobs.cost import choices, prices
from tests.jobs.cost.test_measured import CONFIG, FIGURES

MACHINE = prices.Machine("vertex", "small", "here", 4, 16.0, 0, "", 2.0, 0.5, 0.0, 0.0, "made up", "2026-01-31")
FASTEST = "4 x fast (vertex, here), 3 h, 4.00 USD on demand."


class TestChoices:
    def test_cost_by_hand(self):
        [choice] = choices.compute([MACHINE], FIGURES, CONFIG, [2], 0, 1e9, 0)
        time = (60 + 25 + 1000 * 0.5 * 1.5 * 4.2) / 3600
        assert (choice.hours, choice.usd, choice.usd_spot) == pytest.approx((time, 2 * time * 2.0, 2 * time * 0.5))
        assert choice.efficiency == pytest.approx((60 + 25 + 1000 * 2.5) / 3600 / (2 * time))

    def test_machine_with_too_little_memory_is_left_out(self):
        # 1 GB and 1 MB for each of the 1100 transitions that the run makes: 2.1 GB, or 1.55 where two share them.
        config = dataclasses.replace(CONFIG, run=dataclasses.replace(CONFIG.run, env="ALE/Pong-v5"))
        small = dataclasses.replace(MACHINE, memory_gb=2.0)
        assert [choice.workers for choice in choices.compute([small], FIGURES, config, [1, 2])] == [2]

    def test_machine_with_fewer_cores_than_measured_is_left_out(self):
        assert choices.compute([dataclasses.replace(MACHINE, cores=3)], FIGURES, CONFIG, [1]) == []

    def test_machine_without_spot_price_has_none(self):
        [choice] = choices.compute([dataclasses.replace(MACHINE, usd_per_hour_spot=None)], FIGURES, CONFIG, [1])
        assert choice.usd_spot is None

    def test_cheapest_of_each_platform_and_number_of_workers_is_kept(self):
        dear = dataclasses.replace(MACHINE, name="dear", usd_per_hour=3.0, usd_per_hour_spot=0.1)
        other = dataclasses.replace(dear, platform="azureml")
        found = choices.compute([dear, MACHINE, other], FIGURES, CONFIG, [1, 2])
        best = {(c.machine.platform, c.machine.name, c.workers) for c in choices.cheapest_of_each(found, False)}
        assert best == {("vertex", "small", 1), ("vertex", "small", 2), ("azureml", "dear", 1), ("azureml", "dear", 2)}
        assert {c.machine.name for c in choices.cheapest_of_each(found, True)} == {"dear"}

    @pytest.mark.parametrize(
        ("deadline", "spot", "line"),
        [
            (None, False, "Cheapest: 1 x slow (vertex, here), 9 h, 1.00 USD on demand."),
            (None, True, "Cheapest: 4 x fast (vertex, here), 3 h, 0.50 USD on spot machines."),
            (9.0, False, "Cheapest within 9 h: 1 x slow (vertex, here), 9 h, 1.00 USD on demand."),
            (8.99, False, "Cheapest within 8.99 h: 2 x middling (vertex, here), 5 h, 2.00 USD on demand."),
            (5.0, True, "Cheapest within 5 h: 4 x fast (vertex, here), 3 h, 0.50 USD on spot machines."),
            (2, False, "None meets --deadline_hours=2; the fastest is " + FASTEST),
        ],
    )
    def test_verdict_is_the_cheapest_in_time(self, deadline, spot, line):
        def choice(name, workers, time, usd, usd_spot):
            return choices.Choice(dataclasses.replace(MACHINE, name=name), workers, time, usd, usd_spot, 1.0)

        found = [
            choice("fast", 4, 3.0, 4.0, 0.5),
            choice("slow", 1, 9.0, 1.0, 0.9),
            choice("middling", 2, 5.0, 2.0, 0.8),
            choice("poor", 2, 5.0, 2.5, 0.7),
        ]
        assert choices.verdict(found, spot, deadline) == line.removesuffix(".") + ", price of 2026-01-31."

    def test_picture_has_the_name_that_was_given(self, tmp_path):
        found = choices.compute([MACHINE], FIGURES, CONFIG, [1, 2])
        choices.draw(found, False, 1.0, str(tmp_path / ".png"))
        assert [path.name for path in tmp_path.iterdir()] == [".png"]
