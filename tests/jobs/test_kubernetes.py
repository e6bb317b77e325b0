"""The Indexed Job that is written: valid by Kubernetes' own schema, and one cluster for all of its pods."""

import re
import shutil
import subprocess

import pytest
import yaml

from dqn_tf.cluster import topology
from dqn_tf.config import flags, schema
from dqn_tf.jobs import kubernetes
from tests.jobs import jobs


def make_job(**changes):
    return jobs.make_job(**{"workers": 3, "machine": "", "region": "", "storage": "dqn-runs", **changes})


JOBS = {
    "claim": make_job(),
    "bucket, machine, spot, evaluator": make_job(
        storage="gs://bucket/runs", machine="n1-standard-8", gpus=0, spot=True, evaluator=True, identity="dqn"
    ),
    "one worker, several GPUs": make_job(workers=1, gpus=4, strategy="mirrored"),
    "cores": make_job(gpus=0, cores=3),
}


def documents(job, name="job.yaml"):
    return list(yaml.safe_load_all(kubernetes.files(job).contents[name]))


def find(job, kind, name="dqn-run"):
    found = [tree for tree in documents(job) if tree["kind"] == kind and tree["metadata"]["name"] == name]
    assert len(found) == 1
    return found[0]


def pod(job, name="dqn-run"):
    return find(job, "Job", name)["spec"]["template"]["spec"]


def pods(job):
    """Returns the pods of workers, evaluator and TensorBoard."""
    (tensorboard,) = documents(job, "tensorboard.yaml")
    return [pod(job), pod(job, "dqn-run-evaluator"), tensorboard["spec"]]


def container(job, name="dqn-run"):
    return pod(job, name)["containers"][0]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("name", ["job.yaml", "tensorboard.yaml"])
def test_files_are_valid_by_the_schema_of_kubernetes(job, name):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs the extra [cloud]")
    for tree in documents(job, name):
        kubernetes_validate.validate(tree, kubernetes_validate.latest_version(), strict=True)


def test_schema_of_kubernetes_where_a_field_is_misspelled_refuses():
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs the extra [cloud]")
    tree = find(make_job(), "Job")
    tree["spec"]["backofLimit"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(tree, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("workers", [2, 3, 11])
def test_pods_variables_played_back_are_one_cluster(workers):
    job = make_job(workers=workers)
    variables = {entry["name"]: entry["value"] for entry in container(job)["env"]}
    for index in range(workers):
        cluster = topology.resolve({**variables, "JOB_COMPLETION_INDEX": str(index)})
        assert cluster.index == index
        assert cluster.workers == tuple(f"dqn-run-{i}.dqn-run:2222" for i in range(workers))


def test_pods_host_names_are_those_of_the_cluster():
    service, spec = find(make_job(), "Service"), pod(make_job())
    job = find(make_job(), "Job")
    assert (job["metadata"]["name"], spec["subdomain"], service["metadata"]["name"]) == ("dqn-run",) * 3
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == job["spec"]["template"]["metadata"]["labels"]
    assert [port["port"] for port in service["spec"]["ports"]] == [2222]


def test_workers_of_the_job_are_all_there_at_once():
    spec = find(make_job(), "Job")["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)


def test_failures_are_told_apart_by_exit_code():
    job = find(make_job(max_restarts=5, max_seconds=7200, grace_seconds=90), "Job")["spec"]
    name = job["template"]["spec"]["containers"][0]["name"]
    assert job["podFailurePolicy"]["rules"] == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": name, "operator": "In", "values": [143]}},
        {"action": "FailJob", "onExitCodes": {"containerName": name, "operator": "In", "values": [2]}},
    ]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy takes no other
    assert job["podReplacementPolicy"] == "Failed"  # and not while the old one still saves
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (5, 7200)
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] == 90


def test_run_on_a_claim_is_kept_in_its_mount():
    for spec in pods(make_job(evaluator=True)):
        (main,) = spec["containers"]
        assert "--logdir=/runs/dqn-run" in main["args"]
        assert {"name": "runs", "persistentVolumeClaim": {"claimName": "dqn-runs"}} in spec["volumes"]
        assert {"name": "runs", "mountPath": "/runs"} in main["volumeMounts"]


def test_run_in_a_bucket_needs_no_volume():
    job = make_job(storage="gs://bucket/runs", gpus=1)
    assert "--logdir=gs://bucket/runs/dqn-run" in container(job)["args"]
    assert "volumes" not in pod(job)


@pytest.mark.parametrize("name", ["dqn-run", "dqn-run-evaluator"])
def test_arguments_are_flags_of_the_program(name):
    _, problems = flags.parse(["train.py", *container(make_job(evaluator=True), name)["args"]])
    assert problems == []


def test_shared_memory_where_environments_are_processes_is_larger():
    job = make_job(flags=("--env=CartPole-v1", "--vectorization=async"))
    assert {"name": "shm", "mountPath": "/dev/shm"} in container(job)["volumeMounts"]


@pytest.mark.parametrize("env", ["$(HOME)", "$$(HOME)", "a$", "$$", "$HOME ${HOME} $$$(HOME)$$$"])
def test_arguments_with_a_variable_of_kubernetes_arrive_as_they_are(env):
    (written,) = [word for word in container(make_job(flags=(f"--env={env}",)))["args"] if word.startswith("--env")]
    assert expanded(written) == f"--env={env}"


def expanded(text):
    """Returns what Kubernetes makes of an argument (golang/expansion): $$ is $, $(NAME) a variable."""
    return re.sub(r"\$\$|\$\((\w+)\)", lambda match: "$" if match[1] is None else "expanded", text)


def test_containers_start_the_images_entry_point():
    assert "command" not in container(make_job())  # tini, which passes SIGTERM on


@pytest.mark.parametrize("gpus", [1, 2])
def test_gpus_are_limits_and_tolerated(gpus):
    job = make_job(gpus=gpus)
    assert container(job)["resources"]["limits"] == {"nvidia.com/gpu": str(gpus)}
    assert [entry["key"] for entry in pod(job)["tolerations"]] == ["nvidia.com/gpu"]


def test_pods_see_no_gpu_but_those_of_their_limits():
    void = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}  # the image says all

    def are_void(job):
        return [void in spec["containers"][0]["env"] for spec in pods(job)]

    assert are_void(make_job(evaluator=True, gpus=0)) == [True, True, True]
    assert are_void(make_job(evaluator=True, gpus=1)) == [False, True, True]  # the device plugin says which


def test_pods_ask_for_what_they_need_where_no_machine_is_chosen():
    job = make_job(evaluator=True, gpus=0, cores=3, memory_gib=5)
    little = {"requests": {"cpu": "1", "memory": "2Gi"}}
    expected = [{"requests": {"cpu": "3", "memory": "5Gi"}}, little, little]
    assert [spec["containers"][0]["resources"] for spec in pods(job)] == expected
    assert container(make_job(gpus=0))["resources"] == {"requests": {"cpu": "2", "memory": "2Gi"}}


def test_workers_are_spread_over_nodes_where_there_are_as_many():
    (constraint,) = pod(make_job())["topologySpreadConstraints"]
    workers = find(make_job(), "Job")["spec"]["template"]["metadata"]["labels"]
    assert constraint == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": workers},
    }
    assert "topologySpreadConstraints" not in pod(make_job(workers=1))


def test_tensorboard_is_seen_by_those_alone_who_may_forward_its_port():
    _, _, spec = pods(make_job(evaluator=True))
    (main,) = spec["containers"]
    assert main["command"] == ["tensorboard"]
    assert main["args"] == ["--logdir=/runs/dqn-run", "--host=127.0.0.1"]


def test_machine_is_chosen_by_its_label():
    job = make_job(machine="n1-standard-8", gpus=0, cores=6)
    assert pod(job)["nodeSelector"] == {"node.kubernetes.io/instance-type": "n1-standard-8"}
    assert container(job)["resources"]["requests"] == {"cpu": "6", "memory": "2Gi"}


@pytest.mark.parametrize(
    "machine, label, value",
    [
        ("", "cloud.google.com/gke-spot", "true"),
        ("n1-standard-8", "cloud.google.com/gke-spot", "true"),
        ("m5.xlarge", "eks.amazonaws.com/capacityType", "SPOT"),
        ("Standard_D4s_v3", "kubernetes.azure.com/scalesetpriority", "spot"),
    ],
)
def test_spot_is_chosen_by_the_label_of_the_machines_owner(machine, label, value):
    job = make_job(spot=True, gpus=0, machine=machine)
    assert pod(job)["nodeSelector"][label] == value
    assert label in [entry["key"] for entry in pod(job)["tolerations"]]
    assert "#   EKS: eks.amazonaws.com/capacityType: SPOT" in kubernetes.files(job).contents["job.yaml"].split("---")[0]


def test_pods_run_without_rights():
    spec, main = pod(make_job()), container(make_job())
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] != 0
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]  # may write to the claim
    assert {"name": "HOME", "value": "/tmp"} in main["env"]
    assert spec["automountServiceAccountToken"] is False
    assert main["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_network_policy_lets_the_workers_in_and_nobody_else():
    policy = find(make_job(), "NetworkPolicy")["spec"]
    workers = {"matchLabels": find(make_job(), "Job")["spec"]["template"]["metadata"]["labels"]}
    assert policy["podSelector"] == workers
    assert (policy["policyTypes"], policy["ingress"]) == (["Ingress"], [{"from": [{"podSelector": workers}]}])


@pytest.mark.parametrize("evaluator", [False, True])
def test_workers_are_told_who_evaluates(evaluator):
    assert ("--evaluated_by=evaluator" in container(make_job(evaluator=evaluator))["args"]) == evaluator


def test_evaluator_is_a_job_beside_the_workers():
    job = make_job(evaluator=True, gpus=1, machine="n1-standard-8")
    main, labels = container(job, "dqn-run-evaluator"), pod(job)["containers"][0]["args"]
    assert main["args"] == [*labels, "--task_type=evaluator"]
    assert "nodeSelector" not in pod(job, "dqn-run-evaluator")
    assert "completionMode" not in find(job, "Job", "dqn-run-evaluator")["spec"]
    selector = find(job, "Service")["spec"]["selector"]
    assert selector != find(job, "Job", "dqn-run-evaluator")["spec"]["template"]["metadata"]["labels"]


def test_identity_that_is_no_service_account_is_refused():
    assert pod(make_job(identity="dqn"))["serviceAccountName"] == "dqn"
    with pytest.raises(schema.ConfigError, match="--identity=me@project must be the name of a Kubernetes service acc"):
        kubernetes.files(make_job(identity="me@project"))


def test_header_is_the_command_that_made_the_file():
    text = kubernetes.files(make_job(command="python -m dqn_tf.jobs kubernetes")).contents["job.yaml"]
    assert text.startswith("# Made by: python -m dqn_tf.jobs kubernetes\n---\n")
    assert "&id" not in text  # no references within the file


def test_watch_commands_are_read_by_the_shell():
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    script = "\n".join(kubernetes.files(make_job()).watch)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
