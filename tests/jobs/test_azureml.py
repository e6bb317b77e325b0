"""Azure ML's file, loaded by Microsoft's own SDK, and its command run by a shell."""

import re
import subprocess

import pytest
import yaml

from dqn_tf.config import flags, schema
from dqn_tf.jobs import azureml
from tests.jobs import jobs

pytestmark = pytest.mark.filterwarnings("ignore:The `context` parameter is deprecated")  # azure.ai.ml, marshmallow 3
STORAGE = "azureml://datastores/workspaceblobstore/paths/runs"
CLIENT = "01234567-89ab-cdef-0123-456789abcdef"


def make_job(**changes):
    return jobs.make_job(**{**dict(machine="Standard_NC4as_T4_v3", region="eastus", storage=STORAGE), **changes})


def read(job):
    return yaml.safe_load(azureml.files(job).contents["command_job.yaml"])


def load(job, path):
    """Returns the job as Microsoft's SDK reads it."""
    ml = pytest.importorskip("azure.ai.ml", reason="the extra [cloud] is not installed")
    (path / "command_job.yaml").write_text(azureml.files(job).contents["command_job.yaml"])
    loaded = ml.load_job(path / "command_job.yaml")
    assert loaded._validate().passed
    return loaded


def problems(**changes):
    with pytest.raises(schema.ConfigError) as error:
        azureml.files(make_job(**changes))
    return list(error.value.problems)


def words(command, run="/mnt/run"):
    """Returns what the shell makes of a command after Azure ML has put the directory of the run into it."""
    command = re.sub(r"\$\{\{(.*?)\}\}", lambda match: {"outputs.run": run}[match[1].strip()], command)
    process = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
    return process.stdout.split("\0")[:-1]


def test_job_is_loaded_by_the_sdk_as_it_was_meant(tmp_path):
    loaded = load(make_job(), tmp_path)
    assert (loaded.type, loaded.name, loaded.experiment_name) == ("command", "dqn-run", "dqn_tf")
    assert loaded.compute is None  # serverless
    assert loaded.environment.image == "registry.example.com/dqn_tf:1"
    assert (loaded.distribution.type, loaded.distribution.worker_count) == ("tensorflow", 4)
    assert (loaded.resources.instance_count, loaded.resources.instance_type) == (4, "Standard_NC4as_T4_v3")
    assert loaded.limits.timeout == 3600
    output = loaded.outputs["run"]
    assert (output.type, output.mode, output.path) == ("uri_folder", "rw_mount", f"{STORAGE}/dqn-run")
    assert loaded.queue_settings is None
    assert loaded.identity is None
    assert not loaded.services


def test_spot_is_the_tier_of_the_queue(tmp_path):
    loaded = load(make_job(spot=True), tmp_path)
    assert loaded.queue_settings.job_tier.lower() == "spot"


@pytest.mark.parametrize(
    "workers, strategy, count", [(1, "default", None), (1, "multiworker", 1), (4, "multiworker", 4)]
)
def test_cluster_is_as_large_as_the_job_has_machines(workers, strategy, count, tmp_path):
    loaded = load(make_job(workers=workers, strategy=strategy), tmp_path)
    assert loaded.resources.instance_count == workers
    assert (loaded.distribution and loaded.distribution.worker_count) == count


@pytest.mark.parametrize("identity, client", [("managed", None), (CLIENT, CLIENT)])
def test_identity_is_managed(identity, client, tmp_path):
    loaded = load(make_job(identity=identity), tmp_path)
    assert (loaded.identity.type, loaded.identity.client_id) == ("managed_identity", client)


def test_tensorboard_is_a_service_of_the_head_node(tmp_path):
    loaded = load(make_job(tensorboard="my_tensorboard"), tmp_path)
    assert loaded.services["my_tensorboard"].log_dir == "outputs/tensorboard"
    assert loaded.services["my_tensorboard"].nodes is None
    assert words(loaded.command)[-1] == "--tensorboard_dir=outputs/tensorboard"


def test_command_survives_the_shell(tmp_path):
    env = "my_module:It's a $HOME ${{inputs.secret}}$${{ outputs.run }} `id` \"test\"; \\ *-v0"
    given = (f"--env={env}", "--overlap=false", "--hidden_units=64,64")
    loaded = load(make_job(flags=given), tmp_path)
    argv = words(loaded.command, "/mnt/azureml/cap/data-capability/wd/run")
    logdir = "--logdir=/mnt/azureml/cap/data-capability/wd/run"
    assert argv == ["python", "/app/train.py", "--strategy=multiworker", *given, logdir]
    assert flags.parse(argv[1:])[1] == []


def test_unknown_key_is_an_error_of_the_sdk_so_that_loading_proves_something(tmp_path):
    ml = pytest.importorskip("azure.ai.ml", reason="the extra [cloud] is not installed")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**read(make_job()), "restarts": 3}))
    with pytest.raises(Exception, match="(?i)unknown field|not valid|validation"):
        ml.load_job(tmp_path / "job.yaml")


@pytest.mark.parametrize(
    "changes, line",
    [
        (
            {"identity": "trainer"},
            "--identity=trainer must be managed, which is the workspace's identity, or the client id of a managed "
            "identity, for Azure ML.",
        ),
        (
            {"tensorboard": "my tensorboard"},
            "--tensorboard=my tensorboard must be a name for the service that shows it, of letters, digits and _, "
            "for Azure ML.",
        ),
        (
            {"evaluator": True},
            "--evaluator is not for Azure ML, where all machines of a job are alike; leave it out, the chief "
            "evaluates.",
        ),
    ],
)
def test_what_azure_would_not_take_is_refused_in_one_line(changes, line):
    assert problems(**changes) == [line]


def test_commands_submit_the_file_and_follow_the_job():
    files = azureml.files(make_job(command="python -m jobs"))
    assert list(files.contents) == ["command_job.yaml"]
    assert files.contents["command_job.yaml"].startswith("# Made by: python -m jobs\n# Azure Machine")
    assert files.submit == ("az", "ml", "job", "create", "--file=command_job.yaml")
    assert files.watch == (
        "az ml job stream --name=dqn-run",
        "az ml job download --name=dqn-run --output-name=run && tensorboard --logdir=named-outputs/run",
    )
    assert azureml.files(make_job(tensorboard="board")).watch[1] == "az ml job show-services --name=dqn-run"
