"""A trial for TensorBoard's HParams page: what was searched, and what came of it. Without TensorFlow."""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer import record_writer

from dqn_tf.sweep.search_space import Dimension

_TAG = "sweep/return"
_FILE = "events.out.tfevents.0.hparams"


def write(
    directory: pathlib.Path, params: Mapping[str, Any], metric: str, value: float, space: Mapping[str, Dimension]
) -> None:
    """Writes the events of one trial into its directory, anew if they are there.

    Args:
      metric: what was maximized; `value` is the mean over seeds.
    """
    title = f"{metric} return, mean over seeds"
    experiment = api_pb2.Experiment(
        hparam_infos=[_info(one) for one in space.values()],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=_TAG), display_name=title)],
    )
    start = plugin_data_pb2.SessionStartInfo(group_name=directory.name, start_time_secs=time.time())
    for name, given in params.items():
        _set(start.hparams[name], given)
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    parts = {
        metadata.EXPERIMENT_TAG: plugin_data_pb2.HParamsPluginData(experiment=experiment),
        metadata.SESSION_START_INFO_TAG: plugin_data_pb2.HParamsPluginData(session_start_info=start),
        metadata.SESSION_END_INFO_TAG: plugin_data_pb2.HParamsPluginData(session_end_info=end),
    }
    values = [summary_pb2.Summary.Value(tag=_TAG, simple_value=value)]
    for tag, part in parts.items():
        described = metadata.create_summary_metadata(part)
        values.append(summary_pb2.Summary.Value(tag=tag, tensor=metadata.NULL_TENSOR, metadata=described))
    with open(directory / _FILE, "wb") as file:
        writer = record_writer.RecordWriter(file)
        writer.write(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        for one in values:
            summary = summary_pb2.Summary(value=[one])
            writer.write(event_pb2.Event(wall_time=time.time(), step=0, summary=summary).SerializeToString())
        writer.flush()


def _info(dimension):
    info = api_pb2.HParamInfo(name=dimension.name)
    if not dimension.choices:
        info.domain_interval.min_value, info.domain_interval.max_value = dimension.low, dimension.high
        info.type = api_pb2.DATA_TYPE_FLOAT64
        return info
    for choice in dimension.choices:
        _set(info.domain_discrete.values.add(), choice)
    kinds = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    info.type = kinds.get(type(dimension.choices[0]), api_pb2.DATA_TYPE_FLOAT64)
    return info


def _set(message, value):
    """Sets one of protobuf's values that may be of any kind."""
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    else:
        message.number_value = value
