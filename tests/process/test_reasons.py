"""What of an error goes into a line of the log."""

import errno

import pytest
import tensorflow as tf

from dqn_tf.process import reasons


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError(errno.ENOSPC, "No space left on device", "/file"), "No space left on device"),
        (ValueError("first\nsecond"), "first"),
        (ValueError(), "ValueError"),
        (tf.errors.UnknownError(None, None, " {{function_node __x}}\n {{node b}} gone [Op:B]"), "gone"),
        (tf.errors.AbortedError(None, None, "{{function_node __wrapped__A}}"), "AbortedError"),
        (RuntimeError("x" * 300), "x" * 200),
    ],
)
def test_reason_of_an_error_is_one_line_without_names_of_nodes(error, expected):
    assert reasons.reason(error) == expected


def test_reason_of_a_failed_operation_does_not_name_it(tmp_path):
    with pytest.raises(tf.errors.OpError) as raised:
        tf.raw_ops.ReadFile(filename=str(tmp_path / "none"))
    assert "{{" in raised.value.message
    assert reasons.reason(raised.value) == f"{tmp_path}/none; No such file or directory"
