"""A trial for TensorBoard's HParams page: what was searched, and what came of it."""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

from dqn_tf.sweep.search_space import Dimension

_TAG = "sweep/return"


def write(
    directory: pathlib.Path, params: Mapping[str, Any], metric: str, value: float, space: Mapping[str, Dimension]
) -> None:
    """Writes the events of one trial into its directory.

    Args:
      metric: what was maximized; `value` is the mean over seeds.
    """
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams import summary_v2 as summary
    from tensorboard.plugins.scalar import summary_v2 as scalar_summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.compat.proto import event_pb2

    shown = [summary.HParam(name, _domain(one, summary)) for name, one in space.items()]
    metrics = [summary.Metric(_TAG, display_name=f"{metric} return, mean over seeds")]
    parts = [
        summary.hparams_config_pb(shown, metrics),
        summary.hparams_pb(dict(params), trial_id=directory.name),
        scalar_summary.scalar_pb(_TAG, value),
    ]
    writer = EventFileWriter(str(directory))
    for part in parts:
        writer.add_event(event_pb2.Event(wall_time=time.time(), step=0, summary=part))
    writer.close()


def _domain(one, summary):
    if one.choices:
        return summary.Discrete(list(one.choices))
    kind = summary.IntInterval if isinstance(one.low, int) else summary.RealInterval
    return kind(one.low, one.high)
