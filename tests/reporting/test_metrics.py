"""Rows and TensorBoard events as they are read back, and the progress display."""

import json
import logging
import os
import types

import pytest

from dqn_tf.persistence import rows
from dqn_tf.reporting import metrics
from tests import runs

FIRST = {"env_steps": 100, "train/loss": 0.5}
SECOND = {"env_steps": 200, "train/loss": 0.25, "train/q_mean": -1.0}
THIRD = {"env_steps": 200, "eval/return_mean": 9.5}


def write(logdir, made, journal=types.MappingProxyType({})):
    """Writes rows and returns the journal after each."""
    writer, journals = metrics.MetricsWriter(logdir, journal), []
    for row in made:
        writer.scalars(row["env_steps"], {tag: value for tag, value in row.items() if tag != "env_steps"})
        journals.append(writer.journal())
    writer.close()
    return journals


def test_rows_are_one_json_object_a_line_in_order(tmp_path):
    write(tmp_path, [FIRST, SECOND, THIRD])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [FIRST, SECOND, THIRD]
    assert rows.read(tmp_path / "metrics.jsonl") == [FIRST, SECOND, THIRD]


def test_events_are_the_same_scalars_at_the_same_steps(tmp_path):
    write(tmp_path, [FIRST, SECOND, THIRD])
    assert runs.scalars(tmp_path) == {
        "train/loss": [(100, 0.5), (200, 0.25)],
        "train/q_mean": [(200, -1.0)],
        "eval/return_mean": [(200, 9.5)],
    }


def test_text_is_read_back_as_text(tmp_path):
    writer = metrics.MetricsWriter(tmp_path, {})
    writer.text("config", "| setting | value |")
    writer.close()
    read = runs.events(tmp_path)
    (event,) = read.Tensors("config")
    assert read.SummaryMetadata("config").plugin_data.plugin_name == "text"
    assert (event.step, list(event.tensor_proto.string_val)) == (0, [b"| setting | value |"])


def test_rows_after_flush_can_be_read_while_the_run_goes_on(tmp_path):
    writer = metrics.MetricsWriter(tmp_path, {})
    writer.scalars(100, {"train/loss": 0.5})
    assert rows.read(tmp_path / "metrics.jsonl") == []
    writer.flush()
    assert rows.read(tmp_path / "metrics.jsonl") == [FIRST]
    assert runs.scalars(tmp_path) == {"train/loss": [(100, 0.5)]}
    writer.close()


def test_rows_of_a_run_that_goes_on_keep_the_earlier_and_drop_the_later(tmp_path):
    journals = write(tmp_path, [FIRST, SECOND, THIRD, {"env_steps": 200, "train/loss": 0.125}])
    write(tmp_path, [{"env_steps": 250, "train/loss": 2.0}], journals[2])
    assert rows.read(tmp_path / "metrics.jsonl") == [
        FIRST,
        SECOND,
        THIRD,
        {"env_steps": 250, "train/loss": 2.0},
    ]
    assert runs.scalars(tmp_path) == {
        "train/loss": [(100, 0.5), (200, 0.25), (250, 2.0)],
        "train/q_mean": [(200, -1.0)],
        "eval/return_mean": [(200, 9.5)],
    }


def test_rows_of_a_run_that_goes_on_twice_are_those_of_both(tmp_path):
    (journal,) = write(tmp_path, [FIRST])
    journal = write(tmp_path, [SECOND, THIRD], journal)[0]
    write(tmp_path, [THIRD], journal)
    assert rows.read(tmp_path / "metrics.jsonl") == [FIRST, SECOND, THIRD]
    assert runs.scalars(tmp_path)["train/loss"] == [(100, 0.5), (200, 0.25)]


def test_rows_of_a_run_that_begins_anew_drop_all_of_the_one_before(tmp_path):
    write(tmp_path, [{"env_steps": 0, "train/loss": 1.0}, FIRST])
    write(tmp_path, [SECOND])
    assert rows.read(tmp_path / "metrics.jsonl") == [SECOND]


@pytest.mark.parametrize("cut", ['{"env_steps": 200, "train/lo', '{"env_steps"', "{", "\x00\x00\x00"])
def test_rows_with_a_last_line_that_was_cut_are_read_without_it(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(FIRST) + "\n" + cut)
    assert rows.read(path) == [FIRST]
    write(tmp_path, [THIRD], {"metrics.jsonl": len(json.dumps(FIRST)) + 1})
    assert rows.read(path) == [FIRST, THIRD]


def test_rows_of_a_file_that_was_cut_are_still_lines(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(FIRST))
    write(tmp_path, [THIRD], {"metrics.jsonl": 1000})
    assert rows.read(tmp_path / "metrics.jsonl") == [FIRST, THIRD]


NO_ROWS = [
    b'{"env_steps": 150, "a": "\xff"}',
    b"7",
    b"",
    b'{"train/loss": 0.5}',
    b'{"env_steps": "150"}',
    b'{"env_steps": -1}',
    b'{"env_steps": 150, "train/loss": NaN}',
    b'{"env_steps": 150, "train/loss": 1' + b"0" * 400 + b"}",
    b'{"env_steps": 150, "train/loss": [0.5]}',
    b'{"env_steps": 150, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"env_steps": 150, "a": ' + b" " * 3_000_000 + b"1}",
]


@pytest.mark.parametrize("line", NO_ROWS, ids=range(len(NO_ROWS)))
def test_line_that_is_no_row_is_named_when_the_run_goes_on_and_skipped(tmp_path, warnings, line):
    path = tmp_path / "metrics.jsonl"
    first, second = (json.dumps(row).encode() for row in (FIRST, SECOND))
    path.write_bytes(b"\n".join([first, line, second, b""]))
    write(tmp_path, [THIRD], {"metrics.jsonl": path.stat().st_size})
    assert warnings() == [f"{path}: line 2 cannot be read and will be skipped"]
    assert rows.read(path) == [FIRST, SECOND, THIRD]


def test_lines_that_are_no_rows_are_counted(tmp_path, warnings):
    (tmp_path / "metrics.jsonl").write_text(f"7\n{json.dumps(FIRST)}\n[]\n")
    assert rows.read(tmp_path / "metrics.jsonl") == [FIRST]
    assert warnings() == [
        f"{tmp_path}/metrics.jsonl: 2 lines, the first of them line 1, cannot be read and will be skipped"
    ]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_in_the_place_of_a_file_of_rows_is_named_and_set_aside(tmp_path, warnings, make):
    path = tmp_path / "metrics.jsonl"
    for _ in range(2):
        make(path)
        write(tmp_path, [THIRD], {"metrics.jsonl": 5})
        assert warnings()[0].startswith(f"{path} is not a file: it is {path}.damaged")
        assert rows.read(path) == [THIRD]
        path.unlink()
    assert sorted(path.name for path in tmp_path.glob("m*")) == ["metrics.jsonl.damaged", "metrics.jsonl.damaged-2"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_in_the_place_of_a_file_of_events_is_left_alone(tmp_path, make):
    make(tmp_path / "events.out.tfevents.1.host")
    (journal,) = write(tmp_path, [FIRST], {"metrics.jsonl": 0, "events.out.tfevents.1.host": 5})
    assert len(journal) == 2 and "events.out.tfevents.1.host" not in journal
    assert (tmp_path / "events.out.tfevents.1.host").exists()


def test_rows_where_there_is_no_file_are_none(tmp_path):
    assert rows.read(tmp_path / "metrics.jsonl") == []


def test_progress_where_there_is_no_terminal_is_a_line_at_a_time(monkeypatch, caplog):
    monkeypatch.setenv("DQN_TF_PROGRESS", "lines")
    monkeypatch.setattr(metrics, "_LINE_PERIOD_SECONDS", -1.0)
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
    with caplog.at_level(logging.INFO, "dqn_tf"):
        display = metrics.ProgressDisplay(50_000, 0)
        display.update(5_000, {"return": "21.5", "eval": "30.0"})
        display.close()
    assert caplog.messages == ["5000 of 50000 env steps, return 21.5, eval 30.0"]


def test_progress_on_a_terminal_is_a_bar_that_ends_at_the_total(monkeypatch, capsys):
    monkeypatch.setenv("DQN_TF_PROGRESS", "bar")
    display = metrics.ProgressDisplay(1000, 400)
    display.update(1040, {"return": "21.5"})  # the last round goes past the end
    display.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in last and "1.00k/1.00k" in last and "return=21.5" in last
