"""Clusters as SageMaker, Vertex AI, Slurm and Kubernetes tell of them, and what contradicts itself."""

import json

import hypothesis
import pytest
from hypothesis import strategies

from dqn_tf import config
from dqn_tf.cluster import platforms, topology

VERTEX = {
    "cluster": {
        "workerpool0": ["training-workerpool0-ID-0:2222"],
        "workerpool1": ["training-workerpool1-ID-0:2222", "training-workerpool1-ID-1:2222"],
        "workerpool3": ["training-workerpool3-ID-0:2222"],
    },
    "environment": "cloud",
}
SLURM = {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "n[9-10]", "SLURM_STEP_TASKS_PER_NODE": "2,1"}
KUBERNETES = {"JOB_NAME": "dqn", "JOB_SERVICE": "dqn-workers", "JOB_PARALLELISM": "2"}


def sagemaker(me, hosts=("algo-1", "algo-10", "algo-2")):
    return {"SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": me, "SM_NUM_GPUS": "0"}


def vertex(pool, index):
    return {"CLUSTER_SPEC": json.dumps({**VERTEX, "task": {"type": pool, "index": index}})}


def slurm(number, local, **extra):
    return {**SLURM, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(local), **extra}


def problems(environ):
    with pytest.raises(config.ConfigError) as error:
        topology.resolve(environ)
    return list(error.value.problems)


@pytest.mark.parametrize(
    "environ, index, workers, has_chief",
    [
        (sagemaker("algo-10"), 1, ["algo-1:2222", "algo-10:2222", "algo-2:2222"], False),
        (sagemaker("algo-1", ["algo-1"]), 0, ["algo-1:2222"], False),
        (vertex("workerpool0", 0), 0, [*VERTEX["cluster"]["workerpool0"], *VERTEX["cluster"]["workerpool1"]], True),
        (vertex("workerpool1", 1), 2, [*VERTEX["cluster"]["workerpool0"], *VERTEX["cluster"]["workerpool1"]], True),
        (slurm(0, 0), 0, ["n9:2222", "n9:2223", "n10:2222"], False),
        (slurm(1, 1), 1, ["n9:2222", "n9:2223", "n10:2222"], False),
        (slurm(2, 0), 2, ["n9:2222", "n9:2223", "n10:2222"], False),
        ({**KUBERNETES, "JOB_COMPLETION_INDEX": "1"}, 1, ["dqn-0.dqn-workers:2222", "dqn-1.dqn-workers:2222"], False),
    ],
)
def test_resolve_of_a_platform_is_its_cluster(environ, index, workers, has_chief):
    cluster = topology.resolve(environ)
    assert (cluster.index, list(cluster.workers), cluster.has_chief) == (index, workers, has_chief)


def test_resolve_names_the_source_that_won():
    assert topology.resolve(sagemaker("algo-1")).source == "SM_HOSTS of SageMaker"
    assert topology.resolve({}) is None
    assert topology.resolve({"SLURM_PROCID": "0", "SM_HOSTS": ""}) is None  # no step of srun's, no SageMaker


def test_resolve_where_tf_config_agrees_takes_its_ports():
    spec = {"cluster": {"worker": ["algo-1:8890", "algo-2:8890"]}, "task": {"index": 1, "type": "worker"}}
    environ = {"TF_CONFIG": json.dumps(spec), **sagemaker("algo-2", ["algo-1", "algo-2"])}
    assert topology.resolve(environ).workers == ("algo-1:8890", "algo-2:8890")


def test_resolve_where_sources_disagree_shows_both():
    spec = {"cluster": {"worker": ["algo-1:8890", "algo-2:8890"]}, "task": {"index": 0, "type": "worker"}}
    environ = {"TF_CONFIG": json.dumps(spec), **sagemaker("algo-2", ["algo-1", "algo-2"])}
    assert problems(environ) == [
        "TF_CONFIG in the environment says worker 0 of algo-1:8890, algo-2:8890, SM_HOSTS of SageMaker says worker 1 "
        "of algo-1:2222, algo-2:2222; unset the one that is wrong, or give --tf_config=FILE."
    ]


@pytest.mark.parametrize(
    "environ, line",
    [
        ({**sagemaker("algo-7")}, "SM_CURRENT_HOST=algo-7 is not one of SM_HOSTS"),
        ({"SM_HOSTS": "[1]", "SM_CURRENT_HOST": "a"}, "SM_HOSTS=[1] must be a list"),
        ({"SM_HOSTS": "algo", "SM_CURRENT_HOST": "a"}, "SM_HOSTS=algo is not JSON."),
        ({"CLUSTER_SPEC": "{}"}, 'CLUSTER_SPEC={} must hold "cluster" and "task".'),
        (vertex("workerpool3", 0), "CLUSTER_SPEC of Vertex AI"),
        (slurm(3, 0), "SLURM_PROCID=3 of SLURM_STEP_NUM_TASKS=3 does not fit"),
        (slurm(1, 0), "srun --distribution=block"),
        (slurm(0, 0, SLURM_STEP_NODELIST="n[9-"), "is not a list of nodes"),
        (slurm(0, 0, SLURM_STEP_NODELIST="n[9-8]"), "is not a list of numbers and ranges"),
        (slurm(0, 0, SLURM_STEP_TASKS_PER_NODE="3"), "is not of the 2 nodes of the step"),
        (slurm("x", 0), "SLURM_PROCID=x must be a whole number."),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_NAME": "a"}, "JOB_SERVICE and JOB_PARALLELISM not"),
        ({**KUBERNETES, "JOB_COMPLETION_INDEX": "2"}, "must be below JOB_PARALLELISM=2"),
    ],
)
def test_resolve_of_what_cannot_be_read_says_so_in_one_line(environ, line):
    (problem,) = problems(environ)
    assert line in problem and "\n" not in problem


@pytest.mark.parametrize(
    "text, nodes",
    [
        ("n1", ["n1"]),
        ("n[9-10]", ["n9", "n10"]),
        ("n[09-10,12],m3", ["n09", "n10", "n12", "m3"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("gpu-[001-002].local", ["gpu-001.local", "gpu-002.local"]),
    ],
)
def test_nodes_are_expanded_in_order(text, nodes):
    assert platforms.expand_nodes(text) == nodes


@hypothesis.settings(max_examples=300, deadline=None, database=None)
@hypothesis.given(
    strategies.dictionaries(
        strategies.sampled_from([*sagemaker(""), "CLUSTER_SPEC", *slurm(0, 0), *KUBERNETES, "JOB_COMPLETION_INDEX"]),
        strategies.text(alphabet="n[]0123456789,-x()\"{}: ", max_size=12) | strategies.text(max_size=5),
    )
)
def test_resolve_of_anything_is_a_cluster_or_lines(environ):
    try:
        topology.resolve(environ)
    except config.ConfigError as error:
        assert all("\n" not in problem for problem in error.problems)
