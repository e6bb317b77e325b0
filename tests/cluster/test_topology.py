import dataclasses
import json
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqn_tf.cluster import topology
from dqn_tf.config import schema

CLUSTER_FILES = pathlib.Path(__file__).parents[2] / "tf_config"
SHAPE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'

VERTEX = {
    "cluster": {
        "chief": ["training-workerpool0-ID-0:2222"],
        "worker": ["training-workerpool1-ID-0:2222", "training-workerpool1-ID-1:2222"],
    },
    "environment": "cloud",
    "job": {"scale_tier": "CUSTOM"},
    "task": {"type": "worker", "index": 0, "trial": "1", "cloud": "ID2"},
}
SAGEMAKER = {
    "cluster": {"worker": ["algo-1:8890", "algo-2:8890"]},
    "environment": "cloud",
    "task": {"index": 1, "type": "worker"},
}
AZURE = {
    "cluster": {"worker": ["host0:2222", "host1:2222"]},
    "task": {"type": "worker", "index": 0},
    "environment": "cloud",
}
TFJOB = {
    "cluster": {
        "master": ["dqn-master-0.ml.svc:2222"],
        "worker": ["dqn-worker-0.ml.svc:2222", "dqn-worker-1.ml.svc:2222"],
        "ps": ["dqn-ps-0.ml.svc:2222"],
        "evaluator": ["dqn-evaluator-0.ml.svc:2222"],
    },
    "task": {"type": "worker", "index": 1},
    "environment": "cloud",
}


def resolve(spec, **arguments):
    return topology.resolve({"TF_CONFIG": spec if isinstance(spec, str) else json.dumps(spec)}, **arguments)


def problems_of(call, *args, **kwargs):
    with pytest.raises(schema.ConfigError) as error:
        call(*args, **kwargs)
    return list(error.value.problems)


@pytest.fixture
def cluster_file(tmp_path, monkeypatch):
    """Returns a function that writes bytes or a JSON value to c.json in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(content):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        pathlib.Path("c.json").write_bytes(content)
        return "c.json"

    return write


# What the platforms set.


def test_resolve_of_vertex_puts_the_chief_first():
    assert resolve(VERTEX) == topology.Topology(
        workers=(
            "training-workerpool0-ID-0:2222",
            "training-workerpool1-ID-0:2222",
            "training-workerpool1-ID-1:2222",
        ),
        index=1,  # task worker/0, after the chief
        has_chief=True,
        source="TF_CONFIG in the environment",
    )


def test_resolve_of_vertex_chief_is_worker_0():
    cluster = resolve({**VERTEX, "task": {"type": "chief", "index": 0, "trial": "1", "cloud": "ID2"}})
    assert (cluster.index, cluster.is_chief, cluster.num_workers) == (0, True, 3)


def test_resolve_of_vertex_evaluator_is_beside_the_cluster():
    cluster = resolve({**VERTEX, "task": {"type": "evaluator", "index": 0}})
    assert (cluster.index, cluster.is_evaluator, cluster.is_chief, cluster.num_workers) == (None, True, False, 3)


@pytest.mark.parametrize("evaluators, expected", [(["e:1"], True), ([], False), (None, False)])
def test_resolve_says_whether_an_evaluator_is_named(evaluators, expected):
    spec = {"cluster": {"worker": ["a:1"], "evaluator": evaluators}, "task": {"type": "worker", "index": 0}}
    assert topology.resolve({"TF_CONFIG": json.dumps(spec)}).has_evaluator is expected


def test_resolve_of_a_second_evaluator_is_refused():
    assert problems_of(resolve, {**VERTEX, "task": {"type": "evaluator", "index": 1}}) == [
        "TF_CONFIG names task evaluator/1; a run has one evaluator, evaluator/0."
    ]


def test_resolve_of_ps_is_refused():
    assert problems_of(resolve, {**VERTEX, "task": {"type": "ps", "index": 0}}) == [
        "TF_CONFIG gives this process the task type ps, which is not part of the training cluster; "
        "start train.py only on chief, worker and evaluator tasks."
    ]


def test_resolve_of_an_evaluator_by_flag_needs_no_cluster():
    cluster = topology.resolve({"SLURM_PROCID": "x"}, task_type="evaluator")
    assert (cluster.is_evaluator, cluster.workers, cluster.source) == (True, (), "--task_type=evaluator")


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, False),
        ({"TF_CONFIG": "{"}, False),
        ({"TF_CONFIG": "[1]"}, False),
        ({"TF_CONFIG": '{"task": {"type": "worker"}}'}, False),
        ({"TF_CONFIG": '{"task": {"type": "evaluator"}}'}, True),
        ({"CLUSTER_SPEC": '{"task": {"type": "workerpool1"}}'}, False),
        ({"CLUSTER_SPEC": '{"task": {"type": "workerpool3"}}'}, True),
    ],
)
def test_names_evaluator_of_what_platforms_set(environ, expected):
    assert topology.names_evaluator(environ) is expected


def test_resolve_of_sagemaker_without_chief_makes_worker_0_the_chief():
    second = resolve(SAGEMAKER)
    first = resolve({**SAGEMAKER, "task": {"index": 0, "type": "worker"}})
    assert second.workers == first.workers == ("algo-1:8890", "algo-2:8890")
    assert [(c.index, c.is_chief, c.has_chief) for c in (first, second)] == [(0, True, False), (1, False, False)]


def test_resolve_of_sagemaker_single_host_is_a_cluster_of_one():
    cluster = resolve({**SAGEMAKER, "cluster": {"worker": ["algo-1:8890"]}, "task": {"index": 0, "type": "worker"}})
    assert (cluster.workers, cluster.index, cluster.is_chief) == (("algo-1:8890",), 0, True)


def test_resolve_of_azure_reads_the_workers():
    cluster = resolve(AZURE)
    assert (cluster.workers, cluster.index) == (("host0:2222", "host1:2222"), 0)


def test_resolve_of_tfjob_reads_master_as_chief_and_strips_ps_and_evaluator():
    cluster = resolve(TFJOB)
    assert cluster.workers == (
        "dqn-master-0.ml.svc:2222",
        "dqn-worker-0.ml.svc:2222",
        "dqn-worker-1.ml.svc:2222",
    )
    assert (cluster.index, cluster.has_chief) == (2, True)
    assert json.loads(cluster.tf_config()) == {
        "cluster": {
            "chief": ["dqn-master-0.ml.svc:2222"],
            "worker": ["dqn-worker-0.ml.svc:2222", "dqn-worker-1.ml.svc:2222"],
        },
        "task": {"type": "worker", "index": 1},
    }


def test_tf_config_of_tfjob_master_names_it_chief():
    cluster = resolve({**TFJOB, "task": {"type": "master", "index": 0}})
    assert json.loads(cluster.tf_config())["task"] == {"type": "chief", "index": 0}


def test_tf_config_without_workers_has_no_worker_key():
    cluster = resolve({"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}})
    assert json.loads(cluster.tf_config())["cluster"] == {"chief": ["a:1"]}


def test_tf_config_without_chief_has_no_chief_key():
    assert json.loads(resolve(SAGEMAKER).tf_config()) == {
        "cluster": {"worker": ["algo-1:8890", "algo-2:8890"]},
        "task": {"type": "worker", "index": 1},
    }


def test_resolve_of_tfjob_with_dynamic_workers_is_refused():
    sparse = {**TFJOB, "cluster": {"worker": {"1": "dqn-worker-1.ml.svc:2222"}}}
    assert problems_of(resolve, sparse) == [
        "TF_CONFIG gives worker as an object, a sparse cluster (Kubeflow: enableDynamicWorker); training needs the "
        'whole list ["host:port", ...], so turn that off.'
    ]


# No cluster, or one with flags beside it.


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": " \n"}, {"TASK_INDEX": "1"}])
def test_resolve_without_a_cluster_is_none(environ):
    assert topology.resolve(environ) is None


@pytest.mark.parametrize(
    "arguments, given",
    [
        ({"task_index": 1}, "--task_index=1"),
        ({"task_index": 0}, "--task_index=0"),
        ({"task_type": "chief"}, "--task_type=chief"),
        ({"task_type": "chief", "task_index": 0}, "--task_type=chief --task_index=0"),
    ],
)
def test_resolve_when_flags_name_a_task_of_no_cluster_is_refused(arguments, given):
    assert problems_of(topology.resolve, {}, **arguments) == [
        f"{given} names a task but there is no cluster; give --tf_config=FILE or set TF_CONFIG."
    ]


def test_resolve_when_flags_repeat_tf_config_is_accepted():
    assert resolve(VERTEX, task_type="worker", task_index=0) == resolve(VERTEX)
    assert resolve({**TFJOB, "task": {"type": "master", "index": "0"}}, task_type="chief", task_index=0).is_chief


@pytest.mark.parametrize(
    "arguments, given",
    [({"task_index": 1}, "--task_index=1"), ({"task_type": "chief"}, "--task_type=chief")],
)
def test_resolve_when_flags_contradict_tf_config_is_refused(arguments, given):
    assert problems_of(resolve, AZURE, **arguments) == [
        f'{given} contradicts TF_CONFIG, which names task "worker", index 0; leave the flags out, or give '
        "--tf_config=FILE."
    ]


# Every mistake and its message.

WORKERS = ["a:1", "b:1"]
TASK = {"type": "worker", "index": 0}


def of_cluster(cluster):
    return {"cluster": cluster, "task": TASK}


def of_task(task):
    return {"cluster": {"worker": WORKERS}, "task": task}


def bad_address(shown):
    return (
        f"TF_CONFIG gives worker/1 the address {shown}; it must be host:port, the port from 1 to 65535, "
        "without scheme or spaces."
    )


def bad_index(shown):
    return f"TF_CONFIG gives the task index {shown}; it must be a whole number from 0."


EXPECTED_NAME = "Expecting property name enclosed in double quotes"


def bad_json(reason, shown):
    return f'TF_CONFIG cannot be used ({reason}): "{shown}"; it must look like {SHAPE}.'


@pytest.mark.parametrize(
    "spec, problem",
    [
        ("{worker", bad_json(f"{EXPECTED_NAME} at line 1 column 2", "{worker")),
        ("{\n1:\x1b[31m\u2028", bad_json(f"{EXPECTED_NAME} at line 2 column 1", "{\\n1:\\x1b[31m\\u2028")),
        ("x" * 1000, bad_json("Expecting value at line 1 column 1", "x" * 57 + "...")),
        ("[]", bad_json("it is a list, not an object", "[]")),
        ("[" * 100_000, bad_json("it is nested too deep", "[" * 57 + "...")),
        ("1" * 5000, bad_json("a number has too many digits", "1" * 57 + "...")),
        ({"task": TASK}, f'TF_CONFIG has no "cluster" object; it must look like {SHAPE}.'),
        (of_cluster({}), f"TF_CONFIG has neither a chief nor a worker; it must look like {SHAPE}."),
        (
            of_cluster({"worker": ["a:1"], "workerpool1": ["b:1"]}),
            'TF_CONFIG has the task type "workerpool1"; allowed are chief, worker, ps and evaluator.',
        ),
        (
            of_cluster({"chief": ["c:1"], "master": ["d:1"], "worker": WORKERS}),
            "TF_CONFIG has both a chief and a master, its older name; keep the chief.",
        ),
        (
            of_cluster({"chief": ["c:1", "d:1"], "worker": WORKERS}),
            "TF_CONFIG has 2 chiefs; a cluster has one at most, the others are workers.",
        ),
        (of_cluster({"worker": "a:1"}), 'TF_CONFIG gives worker as text; it must be a list ["host:port", ...].'),
        (of_cluster({"worker": ["a:1", "b"]}), bad_address('"b"')),
        (of_cluster({"worker": ["a:1", "b:0"]}), bad_address('"b:0"')),
        (of_cluster({"worker": ["a:1", "b:65536"]}), bad_address('"b:65536"')),
        (of_cluster({"worker": ["a:1", "b:１"]}), bad_address('"b:１"')),
        (of_cluster({"worker": ["a:1", "grpc://b:1"]}), bad_address('"grpc://b:1"')),
        (of_cluster({"worker": ["a:1", "::1:2222"]}), bad_address('"::1:2222"')),
        (of_cluster({"worker": ["a:1", 2222]}), bad_address("2222")),
        (of_cluster({"worker": ["a:1", 10**300]}), bad_address("a number of 997 bits")),
        (
            of_cluster({"worker": ["a:1", "A:1"]}),
            'TF_CONFIG has the address "a:1" 2 times; every task needs its own.',
        ),
        ({"cluster": {"worker": WORKERS}}, f'TF_CONFIG has no "task" object; it must look like {SHAPE}.'),
        (
            of_task({"type": "Worker", "index": 0}),
            'TF_CONFIG gives this process the task type "Worker"; allowed are chief, worker and evaluator.',
        ),
        (
            of_task({"type": "ps", "index": 0}),
            "TF_CONFIG gives this process the task type ps, which is not part of the training cluster; "
            "start train.py only on chief, worker and evaluator tasks.",
        ),
        (
            of_task({"type": "worker"}),
            'TF_CONFIG does not say which worker this process is; its "task" needs an "index".',
        ),
        (of_task({"type": "worker", "index": True}), bad_index("true")),
        (of_task({"type": "worker", "index": "٣"}), bad_index('"٣"')),
        (of_task({"type": "worker", "index": 3}), "TF_CONFIG names task worker/3 but the cluster has workers 0-1."),
        (
            of_task({"type": "worker", "index": 10**300}),
            "TF_CONFIG names task worker/a number of 997 bits but the cluster has workers 0-1.",
        ),
        (of_task({"type": "chief", "index": 0}), "TF_CONFIG names task chief/0 but the cluster has workers 0-1."),
        (
            {"cluster": {"chief": ["c:1"], "worker": ["a:1"]}, "task": {"type": "chief", "index": 1}},
            "TF_CONFIG names task chief/1 but the cluster has chief 0 and worker 0.",
        ),
    ],
)
def test_resolve_when_tf_config_is_wrong_says_so_in_one_line(spec, problem):
    assert problems_of(resolve, spec) == [problem]


def test_resolve_when_much_is_wrong_reports_all_at_once():
    spec = {"cluster": {"worker": ["a", "b:1", "b:1"], "gpu": []}, "task": {"type": "worker", "index": "x"}}
    assert problems_of(resolve, spec, task_index=1) == [
        '--task_index=1 contradicts TF_CONFIG, which names task "worker", index "x"; leave the flags out, or give '
        "--tf_config=FILE.",
        'TF_CONFIG has the task type "gpu"; allowed are chief, worker, ps and evaluator.',
        'TF_CONFIG gives worker/0 the address "a"; it must be host:port, the port from 1 to 65535, '
        "without scheme or spaces.",
        'TF_CONFIG has the address "b:1" 2 times; every task needs its own.',
        'TF_CONFIG gives the task index "x"; it must be a whole number from 0.',
    ]


@pytest.mark.parametrize("address", ["a:65535", "10.0.0.1:2222", "[::1]:2222", "a-b_c.d.:2222"])
def test_resolve_accepts_the_address(address):
    assert resolve(of_cluster({"worker": [address]})).workers == (address,)


def test_resolve_when_ps_has_the_address_of_a_worker_ignores_it():
    assert resolve(of_cluster({"worker": WORKERS, "ps": ["a:1", 3], "evaluator": None})).workers == ("a:1", "b:1")


# Cluster files.


@pytest.mark.parametrize(
    "environ, arguments, own_task, index",
    [
        ({}, {"task_index": 1}, None, 2),
        ({"TASK_INDEX": "1"}, {}, None, 2),
        ({"TASK_INDEX": "1"}, {"task_index": 0}, None, 1),
        ({"TASK_TYPE": "chief", "TASK_INDEX": "1"}, {"task_type": "worker"}, None, 2),
        ({"TASK_TYPE": "", "TASK_INDEX": " "}, {}, {"type": "chief", "index": 0}, 0),
        ({}, {}, {"type": "worker", "index": 1}, 2),
        ({"TASK_INDEX": "1"}, {}, {"type": "chief", "index": 0}, 2),
    ],
)
def test_resolve_of_a_file_takes_the_task_from_flags_then_environment_then_file(
    cluster_file, environ, arguments, own_task, index
):
    spec = {"cluster": {"chief": ["c:1"], "worker": WORKERS}, **({"task": own_task} if own_task else {})}
    cluster = topology.resolve(environ, path=cluster_file(spec), **arguments)
    assert cluster == topology.Topology(("c:1", "a:1", "b:1"), index, True, "--tf_config=c.json")


def test_resolve_when_file_and_tf_config_are_given_takes_the_file(cluster_file):
    cluster = topology.resolve({"TF_CONFIG": json.dumps(VERTEX)}, path=cluster_file(of_task(TASK)))
    assert (cluster.workers, cluster.source) == (("a:1", "b:1"), "--tf_config=c.json")


def test_resolve_of_a_file_with_a_byte_order_mark_reads_it(cluster_file):
    assert topology.resolve({}, path=cluster_file(json.dumps(of_task(TASK)).encode("utf-8-sig"))).num_workers == 2


@pytest.mark.parametrize(
    "environ, arguments, own_task, problem",
    [
        ({}, {}, None, "--tf_config=c.json does not say which worker this process is; give --task_index=N."),
        (
            {},
            {"task_type": "chief"},
            {"type": "worker", "index": 1},
            "--task_type=chief does not say which chief this process is; give --task_index=N.",
        ),
        ({}, {"task_index": 2}, None, "--task_index=2 names task worker/2 but the cluster has workers 0-1."),
        (
            {"TASK_INDEX": "0"},
            {"task_type": "chief"},
            None,
            "--task_type=chief TASK_INDEX=0 names task chief/0 but the cluster has workers 0-1.",
        ),
        (
            {"TASK_INDEX": "one\n2"},
            {},
            None,
            'TASK_INDEX=one\\n2 gives the task index "one\\n2"; it must be a whole number from 0.',
        ),
        (
            {"TASK_TYPE": "ps", "TASK_INDEX": "0"},
            {},
            None,
            "TASK_TYPE=ps TASK_INDEX=0 gives this process the task type ps, which is not part of the "
            "training cluster; start train.py only on chief, worker and evaluator tasks.",
        ),
        ({}, {}, {"index": 2}, "--tf_config=c.json names task worker/2 but the cluster has workers 0-1."),
    ],
)
def test_resolve_when_the_task_of_a_file_is_wrong_names_what_gave_it(
    cluster_file, environ, arguments, own_task, problem
):
    spec = {"cluster": {"worker": WORKERS}, "task": own_task}
    assert problems_of(topology.resolve, environ, path=cluster_file(spec), **arguments) == [problem]


@pytest.mark.parametrize(
    "path, problem",
    [
        ("no.json", "--tf_config=no.json cannot be read (No such file or directory); give the path of a cluster file."),
        (".", "--tf_config=. cannot be read (Is a directory); give the path of a cluster file."),
        ("a\0b\n", "--tf_config=a\\x00b\\n cannot be read (embedded null byte); give the path of a cluster file."),
    ],
)
def test_resolve_when_the_file_cannot_be_read_says_why(tmp_path, monkeypatch, path, problem):
    monkeypatch.chdir(tmp_path)
    assert problems_of(topology.resolve, {}, path=path) == [problem]


def test_resolve_when_the_file_is_not_utf8_says_so(cluster_file):
    assert problems_of(topology.resolve, {}, path=cluster_file(b"\xff\xfe{")) == [
        "--tf_config=c.json cannot be read (it is not UTF-8 text); give the path of a cluster file."
    ]


SHIPPED_TASKS = [
    (file.name, task_type, index, address)
    for file in sorted(CLUSTER_FILES.glob("*.json"))
    for task_type, addresses in json.loads(file.read_text())["cluster"].items()
    for index, address in enumerate(addresses)
]


def test_shipped_files_have_2_and_4_tasks():
    assert [name for name, *_ in SHIPPED_TASKS] == ["one_chief_three_workers.json"] * 4 + ["two_local_workers.json"] * 2


@pytest.mark.parametrize("name, task_type, index, address", SHIPPED_TASKS)
def test_resolve_of_a_shipped_file_loads_for_each_of_its_tasks(name, task_type, index, address):
    cluster = topology.resolve({}, path=str(CLUSTER_FILES / name), task_type=task_type, task_index=index)
    assert cluster.workers[cluster.index] == address
    assert json.loads(cluster.tf_config())["task"] == {"type": task_type, "index": index}


def test_readme_names_every_shipped_file():
    readme = (CLUSTER_FILES / "README.md").read_text()
    assert [f.name for f in CLUSTER_FILES.glob("*.json") if f.name not in readme] == []


# Whatever is given: a Cluster, None, or one-line problems.

ANY = settings(max_examples=150, deadline=None, database=None)  # a busy machine is no failure; writes no files
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("a:1"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def clusters(draw):
    workers = tuple(f"host-{i}:{draw(st.integers(1, 65535))}" for i in range(draw(st.integers(1, 5))))
    return topology.Topology(workers, draw(st.integers(0, len(workers) - 1)), draw(st.booleans()), "made up")


@st.composite
def mutations(draw):
    """Returns a valid TF_CONFIG in which one value or key has been replaced by any JSON value."""
    spec = json.loads(json.dumps(draw(st.sampled_from([VERTEX, SAGEMAKER, AZURE, TFJOB]))))
    node = draw(st.sampled_from([spec, spec["cluster"], spec["task"], spec["cluster"]["worker"]]))
    if isinstance(node, list):
        node.insert(draw(st.integers(0, len(node))), draw(json_values))
    else:
        key = draw(st.sampled_from([*node, "chief", "master", "evaluator", "gpu\n"]))
        node.pop(key, None)
        if draw(st.booleans()):
            node[key] = draw(json_values)
    return json.dumps(spec)


def assert_answered(environ, **arguments):
    try:
        cluster = topology.resolve(environ, **arguments)
    except schema.ConfigError as error:
        assert error.problems
        assert [p for p in error.problems if not p.isprintable() or len(p.splitlines()) != 1] == []
        return
    if cluster is not None:
        assert 0 <= cluster.index < cluster.num_workers
        assert cluster.workers[cluster.index]


any_text = st.text(st.characters())  # lone surrogates too: how Python shows bytes of the environment


@ANY
@given(any_text, any_text, st.none() | st.integers())
def test_resolve_of_any_text_is_answered(text, task_type, task_index):
    assert_answered({"TF_CONFIG": text}, task_type=task_type, task_index=task_index)


@ANY
@given(json_values)
def test_resolve_of_any_json_is_answered(value):
    assert_answered({"TF_CONFIG": json.dumps(value)})


@ANY
@given(mutations(), st.sampled_from(["", "chief", "worker"]), st.none() | st.integers(0, 3))
def test_resolve_of_a_mutated_tf_config_is_answered(text, task_type, task_index):
    assert_answered({"TF_CONFIG": text}, task_type=task_type, task_index=task_index)


@ANY
@given(st.binary() | mutations().map(str.encode), any_text, any_text)
def test_resolve_of_any_file_is_answered(tmp_path_factory, content, task_type, task_index):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    assert_answered({"TASK_TYPE": task_type, "TASK_INDEX": task_index}, path=str(path))


@ANY
@given(any_text)
def test_resolve_of_any_path_is_answered(path):
    assert_answered({}, path="no such directory/" + path)


def test_resolve_when_task_index_is_huge_is_answered():
    assert_answered({"TF_CONFIG": json.dumps(AZURE)}, task_index=10**5000)


@ANY
@given(clusters())
def test_tf_config_resolves_to_the_same_cluster(cluster):
    again = resolve(cluster.tf_config())
    assert again == dataclasses.replace(cluster, source="TF_CONFIG in the environment")
