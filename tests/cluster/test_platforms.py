"""Clusters as SageMaker, Vertex AI, Slurm and Kubernetes tell of them, and what contradicts itself."""

import json

import hypothesis
import pytest
from hypothesis import strategies

from dqn_tf.cluster import platforms, topology
from dqn_tf.config import schema

VERTEX = {
    "cluster": {
        "workerpool0": ["training-workerpool0-ID-0:2222"],
        "workerpool1": ["training-workerpool1-ID-0:2222", "training-workerpool1-ID-1:2222"],
        "workerpool3": ["training-workerpool3-ID-0:2222"],
    },
    "environment": "cloud",
}
SLURM = {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "n[9-10]", "SLURM_STEP_TASKS_PER_NODE": "2,1"}
# What a step has of its job, and a script of sbatch's of its own.
BATCH = {"SLURM_JOB_NODELIST": "n[9-10]", "SLURM_NODELIST": "n[9-10]", "SLURM_TASKS_PER_NODE": "2(x2)"}
KUBERNETES = {"JOB_NAME": "dqn", "JOB_SERVICE": "dqn-workers", "JOB_PARALLELISM": "2"}


def sagemaker(me, hosts=("algo-1", "algo-10", "algo-2")):
    return {"SM_HOSTS": json.dumps(hosts), "SM_CURRENT_HOST": me, "SM_NUM_GPUS": "0"}


def vertex(pool, index):
    return {"CLUSTER_SPEC": json.dumps({**VERTEX, "task": {"type": pool, "index": index}})}


def slurm(number, local, **extra):
    return {**SLURM, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(local), **extra}


def without(environ, *names):
    return {name: value for name, value in environ.items() if name not in names}


def problems(environ):
    with pytest.raises(schema.ConfigError) as error:
        topology.resolve(environ)
    return list(error.value.problems)


@pytest.mark.parametrize(
    "environ, index, workers, has_chief",
    [
        (sagemaker("algo-10"), 1, ["algo-1:2222", "algo-10:2222", "algo-2:2222"], False),
        (vertex("workerpool0", 0), 0, [*VERTEX["cluster"]["workerpool0"], *VERTEX["cluster"]["workerpool1"]], True),
        (vertex("workerpool1", 1), 2, [*VERTEX["cluster"]["workerpool0"], *VERTEX["cluster"]["workerpool1"]], True),
        (slurm(1, 1), 1, ["n9:2222", "n9:2223", "n10:2222"], False),
        (slurm(2, 0), 2, ["n9:2222", "n9:2223", "n10:2222"], False),
        # Only the job's count: of the step's SLURM_STEP_TASKS_PER_NODE, or two on each.
        (without(slurm(2, 0, SLURM_NTASKS="3"), "SLURM_STEP_NUM_TASKS"), 2, ["n9:2222", "n9:2223", "n10:2222"], False),
        (
            without(slurm(2, 0, SLURM_NTASKS="4"), "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),
            2,
            ["n9:2222", "n9:2223", "n10:2222", "n10:2223"],
            False,
        ),
        (slurm(1, 1, SLURM_NTASKS="64", **BATCH), 1, ["n9:2222", "n9:2223", "n10:2222"], False),  # the step's wins
        ({**KUBERNETES, "JOB_COMPLETION_INDEX": "1"}, 1, ["dqn-0.dqn-workers:2222", "dqn-1.dqn-workers:2222"], False),
        (
            {**KUBERNETES, "JOB_COMPLETION_INDEX": "0", "JOB_SERVICE": "dqn.lab.svc.cluster.local"},
            0,
            ["dqn-0.dqn.lab.svc.cluster.local:2222", "dqn-1.dqn.lab.svc.cluster.local:2222"],
            False,
        ),
    ],
)
def test_resolve_of_a_platform_is_its_cluster(environ, index, workers, has_chief):
    cluster = topology.resolve(environ)
    assert (cluster.index, list(cluster.workers), cluster.has_chief) == (index, workers, has_chief)


def ports(job, step, **extra):
    """Returns the ports of the tasks of a Slurm step."""
    return {address.rpartition(":")[2] for address in slurm_workers(job, step, **extra)}


def slurm_workers(job, step, **extra):
    return topology.resolve(slurm(0, 0, SLURM_JOB_ID=job, SLURM_STEP_ID=step, **extra)).workers


def test_ports_of_a_slurm_step_are_made_from_its_job_and_step():
    assert slurm_workers("7", "1") == ("n9:12752", "n9:12753", "n10:12752")  # 12288 + 16 * (4 * 7 + 1)
    many = dict(SLURM_STEP_NUM_TASKS="64", SLURM_STEP_NODELIST="n9", SLURM_STEP_TASKS_PER_NODE="64")
    of_jobs = [ports(str(job), "0", **many) for job in range(67_000_000, 67_000_320)]
    assert len(set().union(*of_jobs)) == 64 * 320  # no two jobs have one port
    assert not ports("7", "0") & ports("7", "1")
    everything = set(map(int, set().union(*of_jobs)))
    assert 1024 < min(everything) and max(everything) < 32_768  # from where on Linux hands them out
    assert ports("7", "4294967290")  # srun --pty's own step


def test_resolve_names_the_source_that_won():
    assert topology.resolve(sagemaker("algo-1")).source == "SM_HOSTS of SageMaker"
    assert topology.resolve({}) is None
    assert topology.resolve({"SLURM_PROCID": "0", "SM_HOSTS": ""}) is None  # no step of srun's, no SageMaker


def test_resolve_in_a_batch_script_of_slurm_is_no_cluster():
    assert topology.resolve({**BATCH, "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}) is None


@pytest.mark.parametrize("pool, role", [("workerpool2", "ps"), ("workerpool3", "evaluator")])
def test_find_keeps_a_task_beside_the_cluster(pool, role):
    ((name, spec),) = platforms.find(vertex(pool, 0))
    assert name == "CLUSTER_SPEC of Vertex AI"
    assert spec["task"] == {"type": role, "index": 0}
    assert spec["cluster"].pop("evaluator", ["none"])  # who is there is told, too
    assert spec["cluster"] == {"chief": VERTEX["cluster"]["workerpool0"], "worker": VERTEX["cluster"]["workerpool1"]}


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
        ({"SM_HOSTS": "algo", "SM_CURRENT_HOST": "a"}, "SM_HOSTS=algo is not JSON."),
        (sagemaker("a:8890", ["a:8890", "b:8890"]), 'SM_HOSTS=["a:8890", "b:8890"] must be a list of host names'),
        (sagemaker("a", ["a", "a"]), 'has the address "a:2222" 2 times'),
        ({"CLUSTER_SPEC": "{}"}, 'CLUSTER_SPEC={} must hold "cluster" and "task".'),
        (vertex("workerpool2", 0), "task type ps"),
        (vertex("workerpool4", 0), 'CLUSTER_SPEC has the worker pool "workerpool4"; there are workerpool0 (the chief)'),
        (vertex("workerpool1", 2), "names task worker/2 but the cluster has chief 0 and workers 0-1"),
        (slurm(3, 0), "SLURM_PROCID=3 must be below SLURM_STEP_NUM_TASKS=3."),
        (slurm(1, 0), "srun --distribution=block"),
        (slurm(0, 0, SLURM_STEP_NODELIST="n[9-"), "is not a list of nodes"),
        (slurm(0, 0, SLURM_STEP_TASKS_PER_NODE="3,1"), "SLURM_STEP_TASKS_PER_NODE=3,1 makes 4 tasks, SLURM_STEP_NUM_T"),
        (slurm(0, 0, SLURM_STEP_TASKS_PER_NODE=""), "SLURM_STEP_NUM_TASKS=3 cannot be shared out evenly among 2 nodes"),
        (slurm(0, 0, SLURM_STEP_NUM_TASKS=""), "neither SLURM_STEP_NUM_TASKS nor SLURM_NTASKS"),
        (slurm(0, 0, SLURM_STEP_NODELIST="n 9"), 'has the node "n 9", which is no host name'),
        (slurm(0, 0, SLURM_STEP_NODELIST="r[0-999]n[0-999]"), "has more than 100000 nodes"),
        (slurm(0, 0, SLURM_JOB_ID="7", SLURM_STEP_ID="batch"), "SLURM_STEP_ID=batch must be a whole number."),
        (slurm("9" * 1000, 0), f"SLURM_PROCID={'9' * 57}... must be a whole number."),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_NAME": "a"}, "JOB_SERVICE and JOB_PARALLELISM not"),
        ({**KUBERNETES, "JOB_COMPLETION_INDEX": "2"}, "must be below JOB_PARALLELISM=2"),
        ({**KUBERNETES, "JOB_COMPLETION_INDEX": "0", "JOB_PARALLELISM": "two"}, "JOB_PARALLELISM=two must be a whole"),
        ({**KUBERNETES, "JOB_COMPLETION_INDEX": "0", "JOB_SERVICE": "a:1"}, "JOB_SERVICE=a:1 must be part of a host"),
    ],
)
def test_resolve_of_what_cannot_be_read_says_so_in_one_line(environ, line):
    (problem,) = problems(environ)
    assert line in problem and "\n" not in problem


@pytest.mark.parametrize(
    "text, nodes",
    [
        ("n[9-10]", ["n9", "n10"]),
        ("n[09-10,12],m3", ["n09", "n10", "n12", "m3"]),
        ("rack[1-2]n[01-03]", ["rack1n01", "rack1n02", "rack1n03", "rack2n01", "rack2n02", "rack2n03"]),
        ("n[9-10,2]", ["n9", "n10", "n2"]),
        ("gpu-[001-002].local", ["gpu-001.local", "gpu-002.local"]),
    ],
)
def test_nodes_are_expanded_in_order(text, nodes):
    assert platforms.expand_nodes(text) == nodes


JSON = strategies.recursive(
    strategies.none() | strategies.integers() | strategies.text(max_size=3) | strategies.sampled_from(["a:1", "algo"]),
    lambda inner: strategies.lists(inner, max_size=3)
    | strategies.dictionaries(
        strategies.sampled_from(["cluster", "task", "type", "index", "workerpool0", "workerpool1", "workerpool3"]),
        inner,
        max_size=3,
    ),
)
ANYTHING = (
    strategies.text(alphabet="n[]0123456789,-x()\"{}: ", max_size=12)
    | strategies.text(max_size=200)
    | JSON.map(json.dumps)
    | strategies.integers(0, 4).map(str)
)
WHOLE = [
    sagemaker("algo-1"),
    vertex("workerpool1", 1),
    slurm(1, 1, SLURM_NTASKS="4"),
    {**KUBERNETES, "JOB_COMPLETION_INDEX": "1"},
]


@pytest.mark.thorough
@hypothesis.settings(max_examples=300, deadline=None, database=None)
@hypothesis.given(strategies.data())
def test_resolve_of_anything_is_a_cluster_or_lines(data):
    environ = dict(data.draw(strategies.sampled_from(WHOLE)))
    for name in data.draw(strategies.lists(strategies.sampled_from(sorted(environ)), min_size=1, max_size=3)):
        environ[name] = data.draw(ANYTHING)
    try:
        topology.resolve(environ)
    except schema.ConfigError as error:
        assert all("\n" not in problem and len(problem) < 400 for problem in error.problems)


@pytest.mark.parametrize("name, value", [("SM_HOSTS", '["a"]'), ("SM_CURRENT_HOST", "a")])
def test_half_of_sagemakers_variables_is_refused(name, value):
    assert problems({name: value}) == [
        "Of SM_HOSTS and SM_CURRENT_HOST one is not set; set both, as SageMaker does."
    ]
