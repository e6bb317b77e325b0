"""What CUDA makes of CUDA_VISIBLE_DEVICES. Three GPUs are installed."""

import pytest

from dqn_tf.process import gpus

UUIDS = ("GPU-89a1", "GPU-89b2", "GPU-7c3")


@pytest.fixture
def directory(tmp_path):
    """Returns the driver's directory of the GPUs."""
    for number, uuid in enumerate(UUIDS):
        place = tmp_path / f"0000:0{number + 1}:00.0"
        place.mkdir()
        (place / "information").write_text(f"Model: \t NVIDIA H100\nIRQ:   \t 7\nGPU UUID: \t {uuid}\nVideo: \t ?\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    "text, ids",
    [
        (None, ["0", "1", "2"]),
        ("0,1", ["0", "1"]),
        (" 2 , 1", ["2", "1"]),
        ("+1,2nd", ["1", "2"]),  # as strtoul reads it
        ("", []),
        ("none", []),
        # CUDA reads up to the first that is none.
        ("0,-1,1", ["0"]),
        ("1,3,0", ["1"]),
        ("9" * 30, []),
        ("0,GPU-7c3", ["0"]),
        # And sees none where one is named twice.
        ("1,2,01", []),
        ("GPU-89a1,GPU-89a", []),
        # Beginnings of uuids, as long as they are of one GPU.
        ("GPU-7c3,GPU-89b2", ["GPU-7c3", "GPU-89b2"]),
        ("GPU-8", []),
        ("MIG-a1, MIG-b2", ["MIG-a1", "MIG-b2"]),
        ("MIG-GPU-89a1/1/0", ["MIG-GPU-89a1/1/0"]),
        ("MIG-a1,MIG-a1", []),
    ],
)
def test_visible_gpus_are_those_that_cuda_sees(directory, text, ids):
    environ = {} if text is None else {"CUDA_VISIBLE_DEVICES": text}
    assert gpus.visible_gpus(environ, directory) == ids


def test_visible_gpus_whatever_their_order_are_as_many(directory):
    environ = {"CUDA_VISIBLE_DEVICES": "2,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert gpus.visible_gpus(environ, directory) == ["2", "0"]


@pytest.mark.parametrize("text, ids", [(None, []), ("7,5", ["7", "5"]), ("GPU-x,GPU-y", ["GPU-x", "GPU-y"])])
def test_visible_gpus_where_no_driver_tells_are_those_named(tmp_path, text, ids):
    environ = {} if text is None else {"CUDA_VISIBLE_DEVICES": text}
    assert gpus.visible_gpus(environ, str(tmp_path / "absent")) == ids


def test_visible_gpus_whose_uuids_are_not_told_are_those_named(directory, tmp_path):
    for path in tmp_path.glob("*/information"):
        path.unlink()
    assert gpus.visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-x,GPU-y"}, directory) == ["GPU-x", "GPU-y"]
    assert gpus.visible_gpus({"CUDA_VISIBLE_DEVICES": "1,3"}, directory) == ["1"]
