import time

from dqn_tf.cluster import clock


def test_running_clock_counts_of_a_gap_in_which_nobody_looked_twice_the_period(monkeypatch):
    now = iter([100.0, 100.5, 101.5, 1000.0, 1000.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    running = clock.RunningClock(1.0)
    assert [running.seconds() for _ in range(4)] == [0.5, 1.5, 1.5 + 2 * 1.0, 3.5 + 0.5]
