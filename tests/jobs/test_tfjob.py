"""The TFJob that is written: every field is one of Kubeflow's, and what the operator makes of it is one cluster."""

import json

import pytest
import yaml

from dqn_tf.cluster import topology
from dqn_tf.jobs import tfjob
from tests.jobs.test_kubernetes import make_job

JOBS = {
    "claim": make_job(),
    "bucket, machine, spot, evaluator": make_job(
        storage="gs://bucket/runs", machine="n1-standard-8", gpus=0, spot=True, evaluator=True, identity="dqn"
    ),
    "one worker": make_job(workers=1, gpus=0, strategy="default"),
}


def documents(job):
    return list(yaml.safe_load_all(tfjob.files(job).contents["tfjob.yaml"]))


def find(job):
    return next(tree for tree in documents(job) if tree["kind"] == "TFJob")


def replicas(job, role="Worker"):
    return find(job)["spec"]["tfReplicaSpecs"][role]


def mistakes(tree, type_name, models, where=""):
    """Returns what in `tree` is no field of the generated model class `type_name`, or of another type."""
    if type_name.startswith("dict(str, "):
        item = type_name.removeprefix("dict(str, ").removesuffix(")")
        return [line for key, value in tree.items() for line in mistakes(value, item, models, f"{where}.{key}")]
    plain = {"int": int, "str": str, "bool": bool}.get(type_name)
    if plain:
        return [] if type(tree) is plain else [f"{where} is no {type_name}"]
    if type_name in ("V1PodTemplateSpec", "V1ObjectMeta"):  # Kubernetes' own, validated by its schema
        return []
    model = getattr(models, type_name)
    types = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
    unknown = [f"{where}.{key} is unknown" for key in tree if key not in types]
    return unknown + [
        line for key in tree.keys() & types for line in mistakes(tree[key], types[key], models, f"{where}.{key}")
    ]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_tfjob_has_only_fields_of_the_operators_api(job):
    models = pytest.importorskip("kubeflow.training.models", reason="needs the extra [cloud]")
    tree = find(job)
    assert mistakes(tree, "KubeflowOrgV1TFJob", models) == []
    tree["spec"]["runPolicy"]["backofLimit"] = tree["spec"]["runPolicy"].pop("backoffLimit")
    tree["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = "3"
    assert sorted(mistakes(tree, "KubeflowOrgV1TFJob", models)) == [
        ".spec.runPolicy.backofLimit is unknown",
        ".spec.tfReplicaSpecs.Worker.replicas is no int",
    ]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_pods_and_policy_are_valid_by_the_schema_of_kubernetes(job):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs the extra [cloud]")
    version = kubernetes_validate.latest_version()
    for spec in find(job)["spec"]["tfReplicaSpecs"].values():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": spec["template"]}
        kubernetes_validate.validate(pod, version, strict=True)
    for tree in documents(job):
        if tree["kind"] != "TFJob":
            kubernetes_validate.validate(tree, version, strict=True)


def test_tfjob_that_the_operator_starts_is_one_cluster():
    job = make_job(evaluator=True)
    spec = find(job)["spec"]["tfReplicaSpecs"]
    hosts = {role.lower(): range(spec[role]["replicas"]) for role in spec}
    cluster = {role: [f"dqn-run-{role}-{i}.default.svc:2222" for i in of] for role, of in hosts.items()}
    for index in range(3):
        tf_config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}, "environment": "cloud"})
        found = topology.resolve({"TF_CONFIG": tf_config})
        assert (found.index, found.workers) == (index, tuple(cluster["worker"]))


def test_tfjob_gives_the_operator_what_it_looks_for_by_name():
    for role in ("Worker", "Evaluator"):
        (container,) = replicas(make_job(evaluator=True), role)["template"]["spec"]["containers"]
        assert container["name"] == "tensorflow"  # TF_CONFIG is set nowhere else
        assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]


def test_tfjob_starts_again_after_143_alone_and_not_for_ever():
    spec = find(make_job(max_restarts=5, max_seconds=7200, evaluator=True))["spec"]
    assert {role: part["restartPolicy"] for role, part in spec["tfReplicaSpecs"].items()} == {
        "Worker": "ExitCode",
        "Evaluator": "ExitCode",
    }
    assert spec["runPolicy"] == {"backoffLimit": 5, "activeDeadlineSeconds": 7200, "cleanPodPolicy": "Running"}


def test_tfjob_ends_with_worker_0_which_is_the_chief():
    spec = find(make_job())["spec"]
    assert list(spec["tfReplicaSpecs"]) == ["Worker"] and "successPolicy" not in spec
    assert spec["tfReplicaSpecs"]["Worker"]["replicas"] == 3


def test_evaluator_is_a_replica_of_its_own():
    worker, evaluator = (replicas(make_job(evaluator=True), role) for role in ("Worker", "Evaluator"))
    args = [part["template"]["spec"]["containers"][0]["args"] for part in (worker, evaluator)]
    assert evaluator["replicas"] == 1 and args[1] == [*args[0], "--task_type=evaluator"]
    assert worker["template"]["metadata"]["labels"] != evaluator["template"]["metadata"]["labels"]


def test_network_policy_covers_the_workers():
    policy = next(tree for tree in documents(make_job()) if tree["kind"] == "NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == replicas(make_job())["template"]["metadata"]["labels"]
