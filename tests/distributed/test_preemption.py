"""Machines that are taken away, as each platform does it: its variables, its signal, its way to start again.

Two machines with names and addresses of their own train; SageMaker's are in tests/cluster/test_sagemaker_toolkit.py.
"""

import contextlib
import json
import signal
import time

import pytest

from dqn_tf.persistence import manifest
from tests import hosts, marks, runs

pytestmark = [pytest.mark.thorough, pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not())]

FLAGS = [*runs.SMALL, "--strategy=multiworker"]
AGAIN, KILLED = 143, -9


def tf_config(cluster, task_type, index, **more):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}, **more})}


def vertex(tmp_path):
    """The AIP_ places are a bucket's, here directories: gs:// is in tests/persistence/test_bucket.py."""
    names = ["training-workerpool0-7-0", "training-workerpool1-7-0"]
    pools = {f"workerpool{i}": [f"{name}:2222"] for i, name in enumerate(names)}
    cluster = {"chief": pools["workerpool0"], "worker": pools["workerpool1"]}
    places = {
        "AIP_CHECKPOINT_DIR": f"{tmp_path}/run/",
        "AIP_MODEL_DIR": f"{tmp_path}/model/",
        "AIP_TENSORBOARD_LOG_DIR": f"{tmp_path}/tensorboard/",
    }
    return {
        name: {
            **places,
            **tf_config(cluster, role, 0, environment="cloud", job={"scale_tier": "CUSTOM"}),
            "CLUSTER_SPEC": json.dumps(
                {"cluster": pools, "environment": "cloud", "task": {"type": f"workerpool{i}", "index": 0}}
            ),
        }
        for i, (name, role) in enumerate(zip(names, ("chief", "worker"), strict=True))
    }, []


def azureml(tmp_path):
    names = ["node0", "node1"]
    cluster = {"worker": [f"{name}:2222" for name in names]}
    environments = [tf_config(cluster, "worker", i, environment="cloud") for i in range(2)]
    return dict(zip(names, environments, strict=True)), [f"--logdir={tmp_path}/run"]


def tfjob(tmp_path):
    names = ["dqn-worker-0.ml.svc", "dqn-worker-1.ml.svc"]
    cluster = {"worker": [f"{name}:2222" for name in names]}
    environments = [tf_config(cluster, "worker", i, environment="cloud") for i in range(2)]
    return dict(zip(names, environments, strict=True)), [f"--logdir={tmp_path}/run"]


def kubernetes(tmp_path):
    common = {"JOB_NAME": "dqn", "JOB_SERVICE": "dqn-peers", "JOB_PARALLELISM": "2"}
    return {
        f"dqn-{i}.dqn-peers": {**common, "JOB_COMPLETION_INDEX": str(i)} for i in range(2)
    }, [f"--logdir={tmp_path}/run"]


def slurm(tmp_path):
    common = {
        "SLURM_JOB_ID": "9",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "n[9-10]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_LOCALID": "0",
    }
    return {
        name: {**common, "SLURM_PROCID": str(i)} for i, name in enumerate(("n9", "n10"))
    }, [f"--logdir={tmp_path}/run"]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Returns the fingerprint of the run that nobody interrupts."""
    logdir = tmp_path_factory.mktemp("left_alone") / "run"
    done = runs.command(*FLAGS, f"--logdir={logdir}")
    assert done.returncode == 0, done.stderr
    return fingerprint(logdir)


def fingerprint(logdir):
    made = runs.fingerprint(logdir)
    del made["checkpoints"]  # a run that is stopped has one more
    return made


def start(network, environments, flags):
    return [
        runs.start(*FLAGS, *flags, before=network.command(name, []), **environment)
        for name, environment in environments.items()
    ]


@pytest.mark.parametrize(
    "platform, victims, number, codes",
    [
        (tfjob, [1], signal.SIGKILL, [AGAIN, KILLED]),  # a node is lost
        *marks.soak(
            (vertex, [0, 1], signal.SIGTERM, [AGAIN, AGAIN]),  # the whole job starts again with any of its machines
            (slurm, [0, 1], signal.SIGTERM, [AGAIN, AGAIN]),  # --signal=TERM@120, then scontrol requeue
            (azureml, [0, 1], signal.SIGTERM, [AGAIN, AGAIN]),
            (kubernetes, [1], signal.SIGTERM, [AGAIN, AGAIN]),  # a node is drained
        ),
    ],
)
def test_preempted_run_goes_on_to_the_same_result(tmp_path, left_alone, platform, victims, number, codes):
    environments, flags = platform(tmp_path)
    logdir, processes = tmp_path / "run", []
    with hosts.hosts(list(environments)) as network:
        try:
            processes = start(network, environments, flags)
            give_up = time.monotonic() + runs.SECONDS
            while 400 not in manifest.numbers(logdir / "checkpoints"):
                assert time.monotonic() < give_up and [process.poll() for process in processes] == [None, None]
                time.sleep(0.005)
            for victim in victims:
                processes[victim].send_signal(number)
            done = [runs.finish(process) for process in processes]
            assert [process.returncode for process in done] == codes, [process.stderr for process in done]
            processes = start(network, environments, flags)
            done = [runs.finish(process) for process in processes]
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    runs.kill(process)
    assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]
    assert "resume: " in done[0].stderr
    assert fingerprint(logdir) == left_alone
    if platform is vertex:
        assert (tmp_path / "model" / "saved_model.pb").exists()
        assert (tmp_path / "model" / "q_network.keras").exists()
        assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
