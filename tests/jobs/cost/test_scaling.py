"""The fit and the prediction of cluster/scaling_model.py, by hand arithmetic and without TensorFlow."""

import argparse
import importlib.util
import pathlib
import sys

import pytest

from dqn_tf.jobs.cost import scaling_model

DIRECTORY = pathlib.Path(__file__).parents[3] / "benchmarks"


def load(name):
    """Returns a module of benchmarks/, which is no package. What it does to sys.path is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        spec = importlib.util.spec_from_file_location(name, DIRECTORY / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scaling():
    return scaling_model


class TestFit:
    def test_points_on_a_line_give_that_line(self, scaling):
        fit = scaling.fit_line({x: 3.0 + 0.5 * x for x in (4, 1024, 2**26)})
        assert fit == pytest.approx((3.0, 0.5))

    def test_two_points_give_the_line_through_them(self, scaling):
        assert scaling.fit_line({1: 5.0, 3: 9.0}) == pytest.approx((3.0, 2.0))

    def test_small_messages_count_as_much_as_large_ones(self, scaling):
        # Seconds 1 at two sizes near 0, 100 and 400 at 100 and 200: ordinary least squares goes far below 0 at size 0.
        fit = scaling.fit_line({1e-6: 1.0, 2e-6: 1.0, 100: 100.0, 200: 400.0})
        assert fit.fixed == pytest.approx(1.0, rel=0.05)

    def test_fixed_part_that_would_be_negative_is_zero(self, scaling):
        # Through 0 the best relative slope of 1 at 1 and 3 at 2: sum(x/t) / sum((x/t)^2) = (1 + 2/3) / (1 + 4/9).
        assert scaling.fit_line({1: 1.0, 2: 3.0}) == pytest.approx((0.0, (5 / 3) / (13 / 9)))

    def test_slope_that_would_be_negative_is_zero(self, scaling):
        # The best constant for 2 and 1: sum(1/t) / sum(1/t^2) = (1/2 + 1) / (1/4 + 1).
        assert scaling.fit_line({1: 2.0, 2: 1.0}) == pytest.approx((1.5 / 1.25, 0.0))


class TestRing:
    def test_four_workers_take_six_steps_of_a_quarter_of_the_message(self, scaling):
        # 2 * 3 steps of 10 s, and of 1000 / 4 = 250 bytes at 0.01 s each.
        assert scaling.ring_seconds(scaling.Line(10.0, 0.01), 4, 1000) == pytest.approx(6 * (10 + 2.5))

    def test_one_worker_takes_no_time(self, scaling):
        assert scaling.ring_seconds(scaling.Line(10.0, 0.01), 1, 1000) == 0

    @pytest.mark.parametrize(("workers", "step"), [(2, (5.0, 0.3)), (4, (10 / 6, 0.3 * 4 / 6))])
    def test_step_of_a_fit_by_hand(self, scaling, workers, step):
        assert scaling.ring_step(scaling.Line(10.0, 0.3), workers) == pytest.approx(step)

    @pytest.mark.parametrize("workers", [2, 3, 8])
    def test_step_of_a_fit_predicts_the_fit(self, scaling, workers):
        fit = scaling.Line(1e-3, 2e-9)
        predicted = scaling.ring_seconds(scaling.ring_step(fit, workers), workers, 6_748_836)
        assert predicted == pytest.approx(1e-3 + 6_748_836 * 2e-9)

    def test_slow_wire_moves_the_bytes_and_adds_its_latency(self, scaling):
        # 1 Gbit/s is 8 ns a byte, more than the CPU's 2.
        assert scaling.on_network(scaling.Line(1e-3, 2e-9), 1, 50) == pytest.approx((1.05e-3, 8e-9))

    def test_fast_wire_waits_for_the_cpu(self, scaling):
        # 100 Gbit/s is 0.08 ns a byte.
        assert scaling.on_network(scaling.Line(1e-3, 2e-9), 100, 0) == pytest.approx((1e-3, 2e-9))


class TestEfficiency:
    def test_update_as_long_as_its_collective_is_half_efficient(self, scaling):
        cost = scaling.Line(2.0, 0.25)
        assert scaling.efficiency(cost, cost.at(32), 2 + 0.25 * 32, 32) == 0.5

    def test_collective_of_no_cost_is_fully_efficient(self, scaling):
        cost = scaling.Line(2.0, 0.25)
        assert scaling.efficiency(cost, cost.at(32), 0.0, 32) == 1

    def test_shared_batch_of_no_fixed_cost_and_no_collective_is_fully_efficient(self, scaling):
        cost = scaling.Line(0.0, 0.25)
        assert scaling.efficiency(cost, cost.at(64), 0.0, 512, 8) == 1

    def test_shared_batch_by_hand(self, scaling):
        # Alone 2 + 0.25 * 64 = 18; each of 4 at 16: 2 + 4 and 3 for the collective. 18 / (4 * 9).
        cost = scaling.Line(2.0, 0.25)
        assert scaling.efficiency(cost, cost.at(16), 3.0, 64, 4) == 0.5

    def test_process_that_compiles_is_what_workers_are_held_against(self, scaling):
        assert scaling.efficiency(scaling.Line(1.0, 0.0), 3.0, 1.0, 32) == 0.25

    def test_shared_batch_of_less_than_one_each_has_none(self, scaling):
        cost = scaling.Line(2.0, 0.25)
        assert scaling.efficiency(cost, cost.at(1), 0.0, 8, 8) is not None
        assert scaling.efficiency(cost, cost.at(1), 0.0, 8, 9) is None


class TestSmallestBatch:
    def test_agrees_with_the_closed_form(self, scaling):
        # Efficient at 90 % where 2 + 0.5 b >= 9 * collective: b >= (9 * 3.1 - 2) / 0.5 = 51.8.
        cost = scaling.Line(2.0, 0.5)
        assert scaling.smallest_batch(cost, cost, 3.1) == 52

    def test_is_the_first_that_is_efficient_enough(self, scaling):
        single, worker = scaling.Line(0.2, 0.02), scaling.Line(0.5, 0.015)
        # 0.2 + 0.02 b >= 0.8 * (0.5 + 0.015 b + 4.105): b >= 3.484 / 0.008 = 435.5.
        smallest = scaling.smallest_batch(single, worker, 4.105, 0.8)
        efficiencies = [scaling.efficiency(single, worker.at(batch), 4.105, batch) for batch in (435, 436)]
        assert smallest == 436
        assert efficiencies[0] < 0.8 <= efficiencies[1]

    def test_whole_number_is_not_rounded_up(self, scaling):
        # 1 + b >= 9 * 1: b = 8.
        cost = scaling.Line(1.0, 1.0)
        assert scaling.smallest_batch(cost, cost, 1.0) == 8

    def test_collective_of_no_cost_needs_one(self, scaling):
        cost = scaling.Line(2.0, 0.25)
        assert scaling.smallest_batch(cost, cost, 0.0) == 1

    def test_workers_slower_by_the_transition_than_the_process_alone_never_reach_it(self, scaling):
        assert scaling.smallest_batch(scaling.Line(0.0, 1.0), scaling.Line(0.0, 2.0), 1.0) is None


def test_prediction_has_a_row_for_each_number_of_workers_and_falls_with_it(scaling):
    cost, arguments = scaling.Line(5e-3, 1e-3), argparse.Namespace(latency_us=50, global_batch=512)
    message = scaling.Message(6_748_836 // 4 - 12, None, 0)
    rows = scaling.predict(cost, cost, scaling.Line(3e-4, 1e-9), message, arguments)
    assert list(rows) == [2, 4, 8, 16, 32, 64, 128, 256, 512]
    # 1 Gbit/s, 2 workers, 32 each: 2 steps of 350 us and of half of the 6,748,836 bytes at 8 ns.
    assert rows[2][0] == pytest.approx(37e-3 / (37e-3 + 2 * (350e-6 + 3_374_418 * 8e-9)))
    for column in range(12):  # the fewest transitions, every fourth, rise
        values = [row[column] for row in rows.values()]
        assert values == sorted(values, reverse=column % 4 != 3)


class TestMessage:
    # 1000 weights, 20 x 40 of them in the kernel: 200 others, and 60 numbers of factors for each transition.
    def test_factors_go_while_they_are_two_thirds_of_the_weights_at_most(self, scaling):
        message = scaling.Message(1000, (20, 40), 1)
        assert message.num_bytes(7, 2) == 4 * (200 + 7 * 60 + 2 * 6)
        assert message.num_bytes(8, 2) == 4 * (1000 + 2 * 6)

    def test_factors_of_all_are_multiplied_by_each(self, scaling):
        # A transition costs 4, a quarter of it the product: 3 of the own batch and 2 of the other's.
        message = scaling.Message(1000, (20, 40), 3 * 1600)
        assert message.work(scaling.Line(10.0, 4.0), 3, 5) == 10 + 4 * 3 + 1 * 2
        assert message.work(scaling.Line(10.0, 4.0), 3, 8) == 10 + 4 * 3

    def test_first_efficient_batch_may_be_one_with_factors(self, scaling):
        # A byte takes 1 s each way, the product nothing. Two workers, one transition each: 4 * (200 + 120 + 12) bytes.
        message, arguments = scaling.Message(1000, (20, 40), 10**12), argparse.Namespace(latency_us=0, global_batch=4)
        cost = scaling.Line(9 * 4 * (200 + 120 + 12) * 8e-9, 0.0)
        assert scaling.predict(cost, cost, scaling.Line(0.0, 0.0), message, arguments)[2][3] == 1
        without = message._replace(kernel=None)
        assert scaling.predict(cost, cost, scaling.Line(0.0, 0.0), without, arguments)[2][3] is None


def test_given_updates_are_read_in_milliseconds():
    assert load("scaling").pairs("32:30.4,128:118.8") == pytest.approx({32: 0.0304, 128: 0.1188})


@pytest.mark.parametrize("text", ["32:30.4", "32:30.4,32:31", "32:0,64:1", "32", ""])
def test_given_updates_that_make_no_line_are_refused(text):
    with pytest.raises(ValueError):
        load("scaling").pairs(text)
