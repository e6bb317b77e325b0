"""Vertex AI's files, read by Google's own types and played back as the environment of each replica."""

import json

import pytest
import yaml

from dqn_tf.cluster import topology
from dqn_tf.config import flags, schema
from dqn_tf.jobs import vertex
from dqn_tf.reporting import hyperparameters
from tests.jobs import jobs
from tests.jobs.jobs import make_job

TENSORBOARD = "projects/12/locations/us-central1/tensorboards/34"
ACCOUNT = "trainer@project.iam.gserviceaccount.com"


def read(job, name="custom_job.yaml"):
    return yaml.safe_load(vertex.files(job).contents[name])


def sent(job):
    """Returns the CustomJobSpec that gcloud makes of the files; see the test that asks gcloud."""
    contents = vertex.files(job).contents
    tree = yaml.safe_load(contents["custom_job.yaml"])
    if "worker_pools.yaml" not in contents:
        return tree
    assert "workerPoolSpecs" not in tree  # gcloud would read the flags instead
    pools, arguments = [], None
    for flag in yaml.safe_load(contents["worker_pools.yaml"]):
        ((name, value),) = flag.items()
        if name == "--args":
            arguments = value
        else:
            assert name == "--worker-pool-spec"
            pools.append(value)
    return {**tree, "workerPoolSpecs": [pool_of(flag, arguments) if flag else {} for flag in pools]}


def pool_of(flag, arguments):
    """Returns a worker pool as gcloud reads it from a --worker-pool-spec."""
    machine = {"machineType": flag.pop("machine-type")}
    if "accelerator-type" in flag:
        machine |= {"acceleratorType": flag.pop("accelerator-type"), "acceleratorCount": flag.pop("accelerator-count")}
    container = {"imageUri": flag.pop("container-image-uri"), "args": arguments}
    pool = {"machineSpec": machine, "replicaCount": flag.pop("replica-count"), "containerSpec": container}
    assert flag == {}
    return pool


def parse(tree, message):
    """Returns `tree` as one of Google's messages; what it does not know is an error."""
    types = pytest.importorskip("google.cloud.aiplatform_v1", reason="the extra [cloud] is not installed")
    json_format = pytest.importorskip("google.protobuf.json_format")
    parsed = getattr(types, message)()
    json_format.ParseDict(tree, parsed._pb, ignore_unknown_fields=False)
    return parsed


def keys(tree):
    if isinstance(tree, dict):
        return set(tree).union(*map(keys, tree.values()))
    return set().union(*map(keys, tree)) if isinstance(tree, list) else set()


def problems(**changes):
    with pytest.raises(schema.ConfigError) as error:
        vertex.files(make_job(**changes))
    return list(error.value.problems)


def replicas(tree):
    """Yields (pool, index, environment) of each replica, as Vertex AI sets it."""
    counts = [pool.get("replicaCount", 0) for pool in tree["workerPoolSpecs"]]
    hosts = [[f"cmle-workerpool{pool}-0a-{i}:2222" for i in range(count)] for pool, count in enumerate(counts)]
    roles = ["chief", "worker", "ps", "evaluator"]
    training = {roles[pool]: names for pool, names in enumerate(hosts) if names and pool != 3}
    pools = {f"workerpool{pool}": names for pool, names in enumerate(hosts) if names}
    for pool, names in enumerate(hosts):
        for i in range(len(names)):
            spec = {"cluster": pools, "environment": "cloud", "task": {"type": f"workerpool{pool}", "index": i}}
            environ = {"CLUSTER_SPEC": json.dumps(spec)}
            if sum(counts) > 1:
                task = {"type": roles[pool], "index": i, "trial": "", "cloud": "ID"}
                environ["TF_CONFIG"] = json.dumps({"cluster": training, "environment": "cloud", "task": task})
            yield pool, i, environ


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"workers": 1, "strategy": "default", "gpus": 0, "gpu_type": ""},
        {"spot": True, "evaluator": True},
        {"identity": ACCOUNT, "tensorboard": TENSORBOARD, "max_restarts": 0},
    ],
)
def test_custom_job_is_a_custom_job_of_google(changes):
    tree = sent(make_job(**changes))
    parsed = parse({"displayName": "dqn-run", "jobSpec": tree}, "CustomJob").job_spec
    assert not [key for key in keys(tree) if "_" in key]  # gcloud takes camelCase only
    assert [pool.replica_count for pool in parsed.worker_pool_specs] == [
        pool.get("replicaCount", 0) for pool in tree["workerPoolSpecs"]
    ]
    assert parsed.base_output_directory.output_uri_prefix == "gs://bucket/runs/dqn-run"
    assert parsed.scheduling.timeout.total_seconds() == 3600
    assert not parsed.enable_web_access  # a shell into the containers


def test_pools_are_one_chief_and_the_other_workers_on_the_machine_of_the_job():
    chief, workers = read(make_job())["workerPoolSpecs"]
    assert (chief["replicaCount"], workers["replicaCount"]) == (1, 3)
    for pool in (chief, workers):
        assert pool["machineSpec"] == {
            "machineType": "n1-standard-8",
            "acceleratorType": "NVIDIA_TESLA_T4",
            "acceleratorCount": 1,
        }
        assert pool["containerSpec"] == {
            "imageUri": "registry.example.com/dqn_tf:1",
            "args": ["--strategy=multiworker", "--env=CartPole-v1", "--batch_size=96", "--overlap=false"],
        }


def test_machine_without_gpu_has_no_accelerator():
    assert read(make_job(gpus=0, gpu_type=""))["workerPoolSpecs"][0]["machineSpec"] == {"machineType": "n1-standard-8"}


@pytest.mark.parametrize("workers, counts", [(1, [1, 0, 0, 1]), (3, [1, 2, 0, 1])])
def test_evaluator_is_pool_3_and_the_pools_before_it_are_there(workers, counts):
    pools = sent(make_job(workers=workers, evaluator=True))["workerPoolSpecs"]
    assert [pool.get("replicaCount", 0) for pool in pools] == counts
    assert pools[2] == {}


@pytest.mark.parametrize("changes", [{"gpus": 0, "gpu_type": ""}, {"workers": 1, "gpus": 4, "strategy": "mirrored"}])
def test_evaluator_changes_nothing_in_the_training_but_who_evaluates(changes):
    pools = sent(make_job(evaluator=True, **changes))["workerPoolSpecs"]
    training = read(make_job(**changes))["workerPoolSpecs"]
    for pool in training:
        pool["containerSpec"]["args"].insert(1, "--evaluated_by=evaluator")
    assert [pool for pool in pools[:2] if pool] == training
    assert pools[3] == training[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"evaluator": True, "spot": True},
        {"evaluator": True, "gpus": 0, "gpu_type": "", "workers": 1, "strategy": "default", "identity": ACCOUNT},
        {"evaluator": True, "flags": ("--env=m:It's a $HOME ^|^ \"x\", y-v0", "--hidden_units=64,64", "--seed=7")},
    ],
)
def test_gcloud_sends_the_job_that_is_meant(changes, tmp_path):
    job = make_job(**changes)
    (tmp_path / "token").write_text("none")
    settings = {
        "CONFIG": str(tmp_path / "settings"),
        "CORE_PROJECT": "project",
        "CORE_DISABLE_PROMPTS": "1",
        "AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
    }
    with jobs.cloud({"name": "projects/project/locations/us-central1/customJobs/1"}) as (address, bodies):
        settings["API_ENDPOINT_OVERRIDES_AIPLATFORM"] = f"{address}/"
        environ = {f"CLOUDSDK_{name}": value for name, value in settings.items()}
        done = jobs.submit(vertex.files(job), tmp_path, **environ)
    assert done.returncode == 0, done.stderr
    [body] = bodies
    assert parse(body, "CustomJob") == parse({"displayName": "dqn-run", "jobSpec": sent(job)}, "CustomJob")


@pytest.mark.parametrize("workers, evaluator", [(1, False), (2, False), (3, False), (1, True), (3, True)])
def test_replicas_find_their_places_in_the_cluster(workers, evaluator):
    tree = sent(make_job(workers=workers, evaluator=evaluator))
    clusters = {(pool, i): topology.resolve(environ) for pool, i, environ in replicas(tree)}
    training = {place: cluster for place, cluster in clusters.items() if place[0] < 2}
    assert [cluster.index for cluster in training.values()] == list(range(workers))
    assert [place for place, cluster in training.items() if cluster.is_chief] == [(0, 0)]
    assert {cluster.num_workers for cluster in training.values()} == {workers}
    assert [place for place, cluster in clusters.items() if cluster.is_evaluator] == [(3, 0)] * evaluator


@pytest.mark.parametrize(
    "changes, scheduling",
    [
        ({}, {"timeout": "3600s", "restartJobOnWorkerRestart": True}),
        ({"spot": True}, {"timeout": "3600s", "restartJobOnWorkerRestart": True, "strategy": "SPOT"}),
        ({"max_restarts": 0}, {"timeout": "3600s", "disableRetries": True}),
    ],
)
def test_scheduling_restarts_the_whole_job_or_nothing(changes, scheduling):
    assert read(make_job(**changes))["scheduling"] == scheduling


def test_tensorboard_and_service_account_are_those_of_the_job():
    tree = read(make_job(identity=ACCOUNT, tensorboard=TENSORBOARD))
    assert (tree["serviceAccount"], tree["tensorboard"]) == (ACCOUNT, TENSORBOARD)
    assert not {"serviceAccount", "tensorboard"} & set(read(make_job()))


def test_tensorboard_without_service_account_is_refused():
    assert problems(tensorboard=TENSORBOARD) == [
        f"--tensorboard={TENSORBOARD} needs a service account that may write to it; give --identity=EMAIL."
    ]


@pytest.mark.parametrize("changes", [{"gpus": 0}, {"gpu_type": ""}])
def test_gpus_without_their_type_are_refused_and_the_other_way_round(changes):
    [line] = problems(**changes)
    assert line.endswith("Vertex AI needs both or none, such as --gpus=1 --gpu_type=NVIDIA_TESLA_T4.")


@pytest.mark.parametrize("name", ["34", f"{TENSORBOARD}/experiments/5"])
def test_tensorboard_that_is_no_resource_name_is_refused(name):
    [line] = problems(tensorboard=name, identity=ACCOUNT)
    assert line.startswith(f"--tensorboard={name} must be the name of a Vertex AI TensorBoard instance: projects/")


def test_tensorboard_of_another_region_is_refused():
    [line] = problems(tensorboard=TENSORBOARD, identity=ACCOUNT, region="europe-west4")
    assert line.endswith(" is in us-central1, the job in europe-west4; take one of that region.")


def test_tuning_job_is_a_tuning_job_of_google():
    tree = read(make_job(evaluator=True), "hp_tuning_job.yaml")
    parsed = parse(tree, "HyperparameterTuningJob")
    [metric] = parsed.study_spec.metrics
    assert (metric.metric_id, metric.goal.name) == (hyperparameters.METRIC, "MAXIMIZE")
    assert parsed.study_spec.measurement_selection_type.name == "BEST_MEASUREMENT"
    assert [parameter.parameter_id for parameter in parsed.study_spec.parameters] == ["learning_rate", "batch_size"]
    assert parsed.max_trial_count >= parsed.parallel_trial_count > 0
    assert [pool.replica_count for pool in parsed.trial_job_spec.worker_pool_specs] == [1, 3]


@pytest.mark.parametrize("workers, gpus", [(1, 0), (3, 1), (2, 8)])
def test_each_trial_of_the_tuning_job_is_a_valid_run(workers, gpus):
    given = ("--env=CartPole-v1", "--batch_size=48", "--learning_rate=0.1", "--num_envs=16")
    kind = "NVIDIA_TESLA_T4" if gpus else ""
    tree = read(make_job(workers=workers, gpus=gpus, gpu_type=kind, flags=given), "hp_tuning_job.yaml")
    rate, size = tree["studySpec"]["parameters"]
    arguments = tree["trialJobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
    assert arguments == ["--strategy=multiworker", "--env=CartPole-v1", "--num_envs=16"]
    for value in size["discreteValueSpec"]["values"]:
        trial = [f"--learning_rate={rate['doubleValueSpec']['minValue']}", f"--batch_size={float(value)}"]
        run, mistakes = flags.parse(["train.py", *arguments, *trial])
        assert mistakes == []
        assert (run.learning.learning_rate, run.training.batch_size) == (0.0001, value)
        assert value % (workers * max(gpus, 1)) == 0


def test_files_name_the_commands_that_submit_them_and_repeat_nothing_by_reference():
    files = vertex.files(make_job(evaluator=True, command="python -m dqn_tf.jobs vertex"))
    assert files.submit == (
        "gcloud",
        "ai",
        "custom-jobs",
        "create",
        "--region=us-central1",
        "--display-name=dqn-run",
        "--config=custom_job.yaml",
        "--flags-file=worker_pools.yaml",
    )
    assert set(files.contents) == {"custom_job.yaml", "worker_pools.yaml", "hp_tuning_job.yaml"}
    alone = vertex.files(make_job())
    assert alone.submit == files.submit[:-1] and set(alone.contents) == {"custom_job.yaml", "hp_tuning_job.yaml"}
    assert " ".join(files.submit) in files.contents["custom_job.yaml"].splitlines()[1]
    assert "gcloud ai hp-tuning-jobs create" in files.contents["hp_tuning_job.yaml"].splitlines()[1]
    warning = "12 trials, 3 at once, each the whole run on all machines"
    assert warning in files.contents["hp_tuning_job.yaml"].splitlines()[1]
    for text in files.contents.values():
        assert text.startswith("# Made by: python -m dqn_tf.jobs vertex\n")
        assert "&id" not in text  # YAML's references, which gcloud need not know


def test_watch_follows_the_newest_job_of_the_name_and_tensorboard_reads_the_bucket():
    log, tensorboard = vertex.files(make_job()).watch
    assert log == (
        "gcloud ai custom-jobs stream-logs --region=us-central1 $(gcloud ai custom-jobs list --region=us-central1 "
        "--filter=displayName=dqn-run --sort-by=~createTime --limit=1 --format='value(name)')"
    )
    assert tensorboard == "tensorboard --logdir=gs://bucket/runs/dqn-run/logs"
