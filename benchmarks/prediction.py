"""Fits what benchmarks/scaling.py measures and predicts how efficient more workers are: docs/scaling.md."""

import math

from dqn_tf.jobs.cost.scaling_model import Line, Message, on_network, ring_seconds

WORKERS, GIGABITS = [2**k for k in range(1, 10)], [1, 10, 100]
SHOWN, TARGET = [32, 256], 0.9  # batches of each worker; efficiency


def fit_line(seconds: dict[float, float]) -> Line:
    """Returns the line of least squares of the relative error, of which 4 bytes have as much as 16 MiB.

    Takes x -> measured seconds, for two x at least. Neither part of the line is negative.
    """
    points = [(1 / t, x / t) for x, t in seconds.items()]  # minimise sum (fixed * u + per_unit * v - 1)^2
    uu, uv, vv = (sum(p[i] * p[j] for p in points) for i, j in ((0, 0), (0, 1), (1, 1)))
    u, v = (sum(p[i] for p in points) for i in (0, 1))
    fixed, per_unit = (a / (uu * vv - uv * uv) for a in (u * vv - v * uv, v * uu - u * uv))
    positive = fixed >= 0 and per_unit >= 0
    return Line(fixed, per_unit) if positive else Line(0.0, v / vv) if fixed < 0 else Line(u / uu, 0.0)


def ring_step(fit: Line, workers: int) -> Line:
    """Returns what a step of the ring pays, and each byte sent in it, where an all-reduce of `workers` takes `fit`."""
    steps = 2 * (workers - 1)
    return Line(fit.fixed / steps, fit.per_unit * workers / steps)


def efficiency(single: Line, work: float, collective: float, batch: int, sharers: int = 1) -> float | None:
    """Returns speed-up / W: weak scaling at `batch` on each worker; strong at `batch` in all where W share it.

    Args:
      single: an update of one process alone.
      work, collective: seconds of a worker's own part of an update, and of its all-reduce.
      sharers: 1, or W for strong scaling; None comes back where they have less than one transition each.
    """
    return single.at(batch) / (sharers * (work + collective)) if batch >= sharers else None


def smallest_batch(single: Line, worker: Line, collective: float, target: float = TARGET) -> int | None:
    """Returns the fewest transitions on each worker at which weak scaling is `target` efficient; None: at no number.

    For a collective that does not depend on the batch.
    """
    gain = single.per_unit - target * worker.per_unit
    need = target * (worker.fixed + collective) - single.fixed
    return 1 if need <= gain else math.ceil(need / gain - 1e-9) if gain > 0 else None


def predict(single: Line, worker: Line, step: Line, message: Message, arguments) -> dict[int, list[float | None]]:
    """Returns W -> for each network in turn: weak efficiency at the SHOWN batches, strong, the smallest batch.

    Takes latency_us and global_batch from `arguments`.
    """
    rows = {workers: [] for workers in WORKERS}
    for workers, row in rows.items():
        for gigabits in GIGABITS:
            ring = on_network(step, gigabits, arguments.latency_us)

            def weak(batch, workers=workers, ring=ring):
                collective = ring_seconds(ring, workers, message.num_bytes(batch * workers, workers))
                return efficiency(single, message.work(worker, batch, batch * workers), collective, batch)

            row += map(weak, SHOWN)
            shared = arguments.global_batch
            work, collective = (
                message.work(worker, shared / workers, shared),
                ring_seconds(ring, workers, message.num_bytes(shared, workers)),
            )
            row.append(efficiency(single, work, collective, shared, workers))
            row.append(_first_batch(single, worker, ring, workers, message, weak))
    return rows


def _first_batch(single, worker, ring, workers, message, weak):
    """Returns the fewest transitions on each worker for TARGET: with factors, else with gradients, else None."""
    batch = 1
    while message.is_factored(batch * workers):
        if weak(batch) >= TARGET:
            return batch
        batch += 1
    found = smallest_batch(single, worker, ring_seconds(ring, workers, message.num_bytes(batch * workers, workers)))
    return None if found is None else max(found, batch)
