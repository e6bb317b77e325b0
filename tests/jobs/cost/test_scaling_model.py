"""What an update costs on several workers, by hand arithmetic."""

import pytest

from dqn_tf.jobs.cost import scaling_model


class TestRing:
    def test_four_workers_take_six_steps_of_a_quarter_of_the_message(self):
        # 2 * 3 steps of 10 s, and of 1000 / 4 = 250 bytes at 0.01 s each.
        assert scaling_model.ring_seconds(scaling_model.Line(10.0, 0.01), 4, 1000) == pytest.approx(6 * (10 + 2.5))

    def test_one_worker_takes_no_time(self):
        assert scaling_model.ring_seconds(scaling_model.Line(10.0, 0.01), 1, 1000) == 0

    def test_slow_wire_moves_the_bytes_and_adds_its_latency(self):
        # 1 Gbit/s is 8 ns a byte, more than the CPU's 2.
        assert scaling_model.on_network(scaling_model.Line(1e-3, 2e-9), 1, 50) == pytest.approx((1.05e-3, 8e-9))

    def test_fast_wire_waits_for_the_cpu(self):
        # 100 Gbit/s is 0.08 ns a byte.
        assert scaling_model.on_network(scaling_model.Line(1e-3, 2e-9), 100, 0) == pytest.approx((1e-3, 2e-9))


class TestMessage:
    # 1000 weights, 20 x 40 of them in the kernel: 200 others, and 60 numbers of factors for each transition.
    def test_factors_go_while_they_are_two_thirds_of_the_weights_at_most(self):
        message = scaling_model.Message(1000, (20, 40), 1)
        assert message.num_bytes(7, 2) == 4 * (200 + 7 * 60 + 2 * 6)
        assert message.num_bytes(8, 2) == 4 * (1000 + 2 * 6)

    def test_factors_of_all_are_multiplied_by_each(self):
        # A transition costs 4, a quarter of it the product: 3 of the own batch and 2 of the other's.
        message = scaling_model.Message(1000, (20, 40), 3 * 1600)
        assert message.work(scaling_model.Line(10.0, 4.0), 3, 5) == 10 + 4 * 3 + 1 * 2
        assert message.work(scaling_model.Line(10.0, 4.0), 3, 8) == 10 + 4 * 3
