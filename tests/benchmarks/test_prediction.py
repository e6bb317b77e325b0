"""The fit and the prediction of benchmarks/prediction.py, by hand arithmetic."""

import argparse
import importlib.util
import pathlib
import sys

import pytest

from dqn_tf.jobs.cost import scaling_model
from dqn_tf.jobs.cost.scaling_model import Line, Message

DIRECTORY = pathlib.Path(__file__).parents[2] / "benchmarks"


def load(name):
    """Returns a module of benchmarks/, which is no package. What it does to sys.path is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        spec = importlib.util.spec_from_file_location(name, DIRECTORY / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


prediction = load("prediction")


class TestFit:
    def test_two_points_give_the_line_through_them(self):
        assert prediction.fit_line({1: 5.0, 3: 9.0}) == pytest.approx((3.0, 2.0))

    def test_small_messages_count_as_much_as_large_ones(self):
        # Seconds 1 at two sizes near 0, 100 and 400 at 100 and 200: ordinary least squares goes far below 0 at size 0.
        fit = prediction.fit_line({1e-6: 1.0, 2e-6: 1.0, 100: 100.0, 200: 400.0})
        assert fit.fixed == pytest.approx(1.0, rel=0.05)

    def test_fixed_part_that_would_be_negative_is_zero(self):
        # Through 0 the best relative slope of 1 at 1 and 3 at 2: sum(x/t) / sum((x/t)^2) = (1 + 2/3) / (1 + 4/9).
        assert prediction.fit_line({1: 1.0, 2: 3.0}) == pytest.approx((0.0, (5 / 3) / (13 / 9)))

    def test_slope_that_would_be_negative_is_zero(self):
        # The best constant for 2 and 1: sum(1/t) / sum(1/t^2) = (1/2 + 1) / (1/4 + 1).
        assert prediction.fit_line({1: 2.0, 2: 1.0}) == pytest.approx((1.5 / 1.25, 0.0))


class TestStep:
    @pytest.mark.parametrize(("workers", "step"), [(2, (5.0, 0.3)), (4, (10 / 6, 0.3 * 4 / 6))])
    def test_step_of_a_fit_by_hand(self, workers, step):
        assert prediction.ring_step(Line(10.0, 0.3), workers) == pytest.approx(step)

    @pytest.mark.parametrize("workers", [2, 3, 8])
    def test_step_of_a_fit_predicts_the_fit(self, workers):
        fit = Line(1e-3, 2e-9)
        predicted = scaling_model.ring_seconds(prediction.ring_step(fit, workers), workers, 6_748_836)
        assert predicted == pytest.approx(1e-3 + 6_748_836 * 2e-9)


class TestEfficiency:
    def test_update_as_long_as_its_collective_is_half_efficient(self):
        cost = Line(2.0, 0.25)
        assert prediction.efficiency(cost, cost.at(32), 2 + 0.25 * 32, 32) == 0.5

    def test_shared_batch_by_hand(self):
        # Alone 2 + 0.25 * 64 = 18; each of 4 at 16: 2 + 4 and 3 for the collective. 18 / (4 * 9).
        cost = Line(2.0, 0.25)
        assert prediction.efficiency(cost, cost.at(16), 3.0, 64, 4) == 0.5

    def test_shared_batch_of_less_than_one_each_has_none(self):
        cost = Line(2.0, 0.25)
        assert prediction.efficiency(cost, cost.at(1), 0.0, 8, 8) is not None
        assert prediction.efficiency(cost, cost.at(1), 0.0, 8, 9) is None


class TestSmallestBatch:
    def test_is_the_first_that_is_efficient_enough(self):
        single, worker = Line(0.2, 0.02), Line(0.5, 0.015)
        # 0.2 + 0.02 b >= 0.8 * (0.5 + 0.015 b + 4.105): b >= 3.484 / 0.008 = 435.5.
        smallest = prediction.smallest_batch(single, worker, 4.105, 0.8)
        efficiencies = [prediction.efficiency(single, worker.at(batch), 4.105, batch) for batch in (435, 436)]
        assert smallest == 436
        assert efficiencies[0] < 0.8 <= efficiencies[1]

    def test_whole_number_is_not_rounded_up(self):
        # 1 + b >= 9 * 1: b = 8.
        cost = Line(1.0, 1.0)
        assert prediction.smallest_batch(cost, cost, 1.0) == 8

    def test_workers_slower_by_the_transition_than_the_process_alone_never_reach_it(self):
        assert prediction.smallest_batch(Line(0.0, 1.0), Line(0.0, 2.0), 1.0) is None


def test_prediction_has_a_row_for_each_number_of_workers_and_falls_with_it():
    cost, arguments = Line(5e-3, 1e-3), argparse.Namespace(latency_us=50, global_batch=512)
    message = Message(6_748_836 // 4 - 12, None, 0)
    rows = prediction.predict(cost, cost, Line(3e-4, 1e-9), message, arguments)
    assert list(rows) == [2, 4, 8, 16, 32, 64, 128, 256, 512]
    # 1 Gbit/s, 2 workers, 32 each: 2 steps of 350 us and of half of the 6,748,836 bytes at 8 ns.
    assert rows[2][0] == pytest.approx(37e-3 / (37e-3 + 2 * (350e-6 + 3_374_418 * 8e-9)))
    for column in range(12):  # the fewest transitions, every fourth, rise
        values = [row[column] for row in rows.values()]
        assert values == sorted(values, reverse=column % 4 != 3)


def test_first_efficient_batch_may_be_one_with_factors():
    # A byte takes 1 s each way, the product nothing. Two workers, one transition each: 4 * (200 + 120 + 12) bytes.
    message, arguments = Message(1000, (20, 40), 10**12), argparse.Namespace(latency_us=0, global_batch=4)
    cost = Line(9 * 4 * (200 + 120 + 12) * 8e-9, 0.0)
    assert prediction.predict(cost, cost, Line(0.0, 0.0), message, arguments)[2][3] == 1
    without = message._replace(kernel=None)
    assert prediction.predict(cost, cost, Line(0.0, 0.0), without, arguments)[2][3] is None


def test_given_updates_are_read_in_milliseconds():
    assert load("scaling").pairs("32:30.4,128:118.8") == pytest.approx({32: 0.0304, 128: 0.1188})


@pytest.mark.parametrize("text", ["32:30.4", "32:30.4,32:31", "32:0,64:1", "32", ""])
def test_given_updates_that_make_no_line_are_refused(text):
    with pytest.raises(ValueError):
        load("scaling").pairs(text)
