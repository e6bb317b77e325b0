"""Where a run is kept, from flags and the variables of platforms."""

import dataclasses
import logging
import tempfile

import pytest

from dqn_tf.config import schema
from dqn_tf.persistence import locations

VERTEX = {
    "AIP_CHECKPOINT_DIR": "gs://b-1/job/checkpoints/",
    "AIP_MODEL_DIR": "gs://b-1/job/model/",
    "AIP_TENSORBOARD_LOG_DIR": "gs://b-1/job/logs/",
}
SAGEMAKER = {"SM_MODEL_DIR": "/opt/ml/model", "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data"}


def find(environ=None, **flags):
    return locations.find(dataclasses.replace(schema.RunSettings(), **flags), environ or {})


def problems_of(environ=None, **flags):
    with pytest.raises(schema.ConfigError) as error:
        find(environ, **flags)
    return list(error.value.problems)


def test_find_without_a_platform_is_a_new_directory_in_runs():
    found = find()
    assert found.run.startswith("runs/CartPole-v1/")
    assert (found.model, found.tensorboard, found.results) == ("", "", "")
    assert (found.is_default, found.is_bucket, found.is_private) == (True, False, False)


def test_find_on_vertex_takes_its_three_places():
    found = find(VERTEX)
    assert found == locations.Locations(
        "gs://b-1/job/checkpoints/", model="gs://b-1/job/model/", tensorboard="gs://b-1/job/logs/"
    )
    assert (found.is_bucket, found.is_private, found.is_default) == (True, True, False)


def test_find_on_sagemaker_lies_beside_its_model_where_checkpoints_are_synced():
    found = find(SAGEMAKER)
    assert found == locations.Locations(
        "/opt/ml/checkpoints",
        model="/opt/ml/model",
        results="/opt/ml/output/data",
        is_served_by_version=True,
        is_synced=True,
    )
    assert (found.is_bucket, found.is_private) == (False, True)


def test_find_with_flags_takes_these_over_the_platform():
    found = find(VERTEX, logdir="/run", model_dir="/model", tensorboard_dir="/logs")
    assert found == locations.Locations("/run", model="/model", tensorboard="/logs")


@pytest.mark.parametrize(
    "logdir, is_synced",
    [("/opt/ml/checkpoints", True), ("/opt/ml/checkpoints/a", True), ("/opt/ml/checkpoints2", False), ("/fsx", False)],
)
def test_find_on_sagemaker_with_a_logdir_is_synced_below_its_checkpoints_only(logdir, is_synced):
    assert find(SAGEMAKER, logdir=logdir).is_synced is is_synced


def test_find_on_sagemaker_leaves_the_estimators_model_dir_to_it(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
    with caplog.at_level("INFO", "dqn_tf"):
        assert find(SAGEMAKER, model_dir="s3://b/job/model").model == "/opt/ml/model"
    assert caplog.messages[0] == (
        "--model_dir=s3://b/job/model is left to SageMaker, which copies /opt/ml/model to S3 at the end"
    )
    assert "places: run in /opt/ml/checkpoints, because of SageMaker" in caplog.messages


@pytest.mark.parametrize(
    "name, place, advice",
    [
        ("logdir", "s3://b/run", "SageMaker"),
        ("logdir", "S3A://b/run", "SageMaker"),
        ("logdir", "az://b/run", "Azure ML"),
        ("tensorboard_dir", "azureml://datastores/x/paths/y", "Azure ML"),
        ("logdir", "http://b/run", "use a directory or gs://BUCKET/path"),
    ],
)
def test_find_of_what_tensorflow_cannot_write_says_what_to_do(name, place, advice):
    [problem] = problems_of(**{name: place})
    assert problem.startswith(f"--{name}={place} cannot be written by TensorFlow, which knows gs:// only; ")
    assert advice in problem


@pytest.mark.parametrize(
    "place",
    ["gs://", "gs://B/run", "gs://bucket\n/run", "gs:bucket/run", "gs://bucket/../run", "gs://bucket//run"],
)
def test_find_of_what_is_no_bucket_is_refused(place):
    [problem] = problems_of(logdir=place)
    assert "must look like gs://BUCKET/path" in problem


def test_find_tells_of_all_mistakes_and_names_the_variable():
    assert [problem.split("=")[0] for problem in problems_of({"AIP_MODEL_DIR": "s3://m"}, logdir="s3://r")] == [
        "--logdir",
        "AIP_MODEL_DIR",
    ]


@pytest.mark.parametrize("variables", [{"AIP_MODEL_DIR": "caf\udce9"}, {"AIP_CHECKPOINT_DIR": "a/" * 1950}])
def test_find_of_what_could_not_hold_the_files_of_a_run_is_refused(variables):
    [problem] = problems_of(variables)
    assert problem.startswith(f"{next(iter(variables))}=")
    assert "must be UTF-8" in problem or "is too long: with the names of a run's files" in problem


def test_find_of_a_bucket_looks_at_the_directory_where_it_is_written(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "caf\udce9")
    assert find(logdir="here").run == "here"
    [problem] = problems_of(logdir="gs://bucket/run")
    assert problem == "TMPDIR=caf\\udce9 must be UTF-8, as all names of files here."


@pytest.mark.parametrize("place", ["gs://bucket/", "gs://my.bucket-1/a.b/..c/run/", "a:b", "C:"])
def test_find_takes_buckets_and_odd_directories(place):
    assert find(logdir=place).run == place
