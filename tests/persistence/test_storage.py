"""Where copies of a run go, on disks; buckets are in test_bucket.py."""

import json
import logging
import re
import time

import pytest
import tensorflow as tf

from dqn_tf.config import flags, schema
from dqn_tf.distribution import strategy
from dqn_tf.persistence import mirror
from dqn_tf.process import stopping
from dqn_tf.training import plan, run
from tests import runs


@pytest.fixture
def train_on(train, placement):  # train: it puts back the handlers of signals
    """Returns a function that trains with these variables of a platform and flags."""

    def train_on(environ, *argv):
        made = plan.make(*flags.parse(["train.py", *runs.SMALL, *argv]), environ, time.time())
        with pytest.MonkeyPatch.context() as patch, made.locked():
            patch.setattr(strategy, "create", lambda *arguments: placement)
            run.train(made, stopping.Stop())

    return train_on


def names(path):
    return sorted(found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file())


MODEL = ["fingerprint.pb", "saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]


def test_run_on_vertex_is_in_its_three_places(train_on, tmp_path):
    variables = {"AIP_CHECKPOINT_DIR": "run", "AIP_MODEL_DIR": "model", "AIP_TENSORBOARD_LOG_DIR": "logs"}
    train_on({name: f"{tmp_path}/{place}/" for name, place in variables.items()})
    assert names(tmp_path / "model") == sorted([*MODEL, "q_network.keras"])
    assert tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    [events] = names(tmp_path / "logs")
    assert (tmp_path / "logs" / events).read_bytes() == (tmp_path / "run" / events).read_bytes()
    assert (tmp_path / "run" / "summary.json").exists()


def test_run_on_sagemaker_serves_its_model_as_version_1_and_leaves_results(train_on, tmp_path):
    train_on({"SM_MODEL_DIR": f"{tmp_path}/model", "SM_OUTPUT_DATA_DIR": f"{tmp_path}/output/data"})
    assert names(tmp_path / "model") == [f"1/{name}" for name in MODEL] + ["q_network.keras"]
    assert names(tmp_path / "output/data") == ["config.json", "metrics.jsonl", "reward_curve.png", "summary.json"]
    assert runs.checkpoints(tmp_path / "checkpoints") == [400, 800, 1200]


@pytest.mark.thorough
def test_run_with_flags_goes_where_these_say(train_on, tmp_path):
    platform = {name: f"{tmp_path}/no" for name in ("AIP_CHECKPOINT_DIR", "AIP_MODEL_DIR", "AIP_TENSORBOARD_LOG_DIR")}
    places = ("logdir", "model_dir", "tensorboard_dir")
    train_on(platform, *(f"--{name}={tmp_path}/{name}" for name in places))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(places)
    assert (tmp_path / "model_dir" / "saved_model.pb").exists()
    assert names(tmp_path / "tensorboard_dir")[0].startswith("events.out.tfevents.")


def test_log_of_a_run_has_rows_that_programs_can_read(train_on, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
    with caplog.at_level(logging.INFO, "dqn_tf"):
        train_on({}, f"--logdir={tmp_path}/run")
    lines = [line for line in caplog.messages if line.startswith("metrics: ")]
    told = [dict(pair.split("=") for pair in line.removeprefix("metrics: ").split(" ")) for line in lines]
    for row, line in zip(runs.rows(tmp_path / "run", "eval/"), told[:3], strict=True):
        assert {name: float(value) for name, value in line.items()} == pytest.approx(row, rel=1e-5)
    assert told[3].keys() >= {"env_steps", "train/loss", "train/episode_return", "time/env_steps_per_second"}
    assert all(re.fullmatch(r"[-+.0-9e]+", value) for line in told for value in line.values())


def test_trial_of_vertex_reports_evaluations_and_the_result_by_its_own_library(train_on, tmp_path, monkeypatch):
    pytest.importorskip("hypertune", reason="hyperparameter tuning needs the extra [vertex]")
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "7")
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(tmp_path / "hypertune" / "output.metrics"))
    train_on({}, f"--logdir={tmp_path}/run")
    reported = [json.loads(line) for line in (tmp_path / "hypertune" / "output.metrics").read_text().splitlines()]
    assert [one["global_step"] for one in reported] == ["400", "800", "1200", "1200"]
    assert {one["trial"] for one in reported} == {"7"}
    expected = [row["eval/return_mean"] for row in runs.rows(tmp_path / "run", "eval/")]
    expected.append(runs.read_json(tmp_path / "run" / "summary.json")["eval_return_mean"])
    assert [float(one["eval_return_mean"]) for one in reported] == expected


@pytest.mark.thorough
def test_trial_without_the_library_is_a_warning(train_on, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "7")
    monkeypatch.setitem(__import__("sys").modules, "hypertune", None)
    train_on({}, f"--logdir={tmp_path}/run", "--train_env_steps=400")
    assert "pip install cloudml-hypertune" in caplog.text


def tree(path, **files):
    for name, text in files.items():
        target = path / name.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path


def test_mirror_copies_what_is_new_and_removes_what_was_dropped_but_nothing_else(tmp_path):
    here, there = tree(tmp_path / "here", a="1", b__c="2", lost="6", skipped="3"), tree(tmp_path / "there", others="4")
    copies = mirror.Mirror(here, str(there), lambda name: name != "skipped")
    copies.push()
    assert names(there) == ["a", "b/c", "lost", "others"]
    (here / "lost").unlink()  # by somebody else
    (here / "a").unlink()
    copies.drop(["a", "others", "b/c"])  # the last is back before the push
    tree(here, b__c="22", new="5")
    copies.push()
    assert {name: (there / name).read_text() for name in names(there)} == {
        "b/c": "22",
        "lost": "6",
        "new": "5",
        "others": "4",
    }


def test_mirror_writes_manifests_last_and_removes_them_first(tmp_path, monkeypatch):
    here = tree(tmp_path / "here", ckpt__manifest="", ckpt__z="1")
    (here / "ckpt" / "manifest.json").write_text("{}")
    (here / ".newest").write_text("1")
    (here / "ckpt" / "manifest").unlink()
    done = []
    monkeypatch.setattr(tf.io.gfile, "copy", lambda source, target, overwrite: done.append(target.split("there/")[1]))
    monkeypatch.setattr(tf.io.gfile, "remove", lambda path: done.append("-" + path.split("there/")[1]))
    copies = mirror.Mirror(here, f"{tmp_path}/there")
    copies.push()
    assert done == ["ckpt/z", "ckpt/manifest.json", ".newest"]
    done.clear()
    (here / "ckpt" / "manifest.json").unlink()
    (here / "ckpt" / "z").unlink()
    copies.drop(["ckpt/z", "ckpt/manifest.json"])
    copies.push()
    assert done == ["-ckpt/manifest.json", "-ckpt/z"]


@pytest.mark.parametrize("name", ["lr=[1e-3]?*", "back\\slash", "ü {a,b}", "gs://a"])
def test_mirror_finds_its_files_in_a_place_of_any_name(tmp_path, name):
    copies = mirror.Mirror(tree(tmp_path / "here", c__m="1", d="2"), f"{tmp_path}/{name}")
    copies.push()
    assert copies.names("*/m") == copies.tree("c") == ["c/m"]
    assert names(tmp_path / name) == ["c/m", "d"]


def test_mirror_that_another_has_claimed_is_refused(tmp_path):
    copies = [mirror.Mirror(tree(tmp_path / name, a=name), f"{tmp_path}/there") for name in ("first", "second")]
    for one in copies:
        one.claim()
    with pytest.raises(mirror.Taken, match="is being written by another process, which began later"):
        copies[0].push()
    copies[1].push()
    assert (tmp_path / "there" / "a").read_text() == "second"


def test_mirror_into_its_own_directory_leaves_it_as_it_is(tmp_path, monkeypatch):
    here = tree(tmp_path / "here", a="1")
    monkeypatch.chdir(tmp_path)
    for place in (str(here), "here/", "./here"):
        mirror.Mirror(here, place).push()
    assert (here / "a").read_text() == "1"


@pytest.mark.thorough
def test_run_whose_model_and_results_go_into_its_own_directory_keeps_them(train_on, tmp_path):
    run_directory = tmp_path / "ml" / "checkpoints"
    train_on({"SM_MODEL_DIR": f"{tmp_path}/ml/model", "SM_OUTPUT_DATA_DIR": str(run_directory)})
    assert runs.read_json(run_directory / "summary.json")["env_steps"] == 1200
    train_on({}, f"--logdir={tmp_path}/run", f"--model_dir={tmp_path}/run/model", f"--tensorboard_dir={tmp_path}/run/")
    assert (tmp_path / "run" / "model" / "q_network.keras").stat().st_size > 1000
    assert runs.scalars(tmp_path / "run")["eval/return_mean"]


def test_place_for_copies_that_cannot_be_made_is_refused_before_tensorflow(tmp_path):
    (tmp_path / "file").touch()
    argv = ["train.py", *runs.SMALL, f"--logdir={tmp_path}/run", f"--model_dir={tmp_path}/file/model"]
    with pytest.raises(schema.ConfigError) as error:
        plan.make(*flags.parse(argv), {"SM_OUTPUT_DATA_DIR": f"{tmp_path}/file/data"}, time.time())
    assert list(error.value.problems) == [
        f"{tmp_path}/file/{name} cannot be written: Not a directory; use another directory."
        for name in ("model", "data")
    ]
