"""A run as a custom job of Vertex AI, and the same as a hyperparameter tuning job. Without Google's SDK.

Sources for fields whose name does not say all:
- gcloud's --config reads both files, CustomJobSpec and HyperparameterTuningJob in camelCase. Its command line wins over
  the file (gcloud reference, "ai custom-jobs create" and "ai hp-tuning-jobs create").
- A worker pool's position says what it is. Pool 0 has exactly one replica, and {} skips a pool ("Distributed training";
  "CustomJobSpec", workerPoolSpecs). gcloud refuses {} in a file, but its command line takes an empty
  --worker-pool-spec (command_lib/ai/custom_jobs/validation.py, gcloud 528). --flags-file is a command line in YAML
  ("topic flags-file"): the pools of a job with an evaluator are written in this way.
- A pool without diskSpec has a boot disk of 100 GB ("DiskSpec").
- The time between SIGTERM and SIGKILL cannot be chosen; spot machines have 30 s ("Spot VMs").
- AIP_MODEL_DIR, AIP_CHECKPOINT_DIR and AIP_TENSORBOARD_LOG_DIR are made from baseOutputDirectory. In a tuning job the
  number of the trial is between ("CustomJobSpec", baseOutputDirectory), so no --logdir is given.
- disableRetries overrides restartJobOnWorkerRestart. maxWaitDuration counts only for FLEX_START ("Scheduling"), so a
  job on spot machines has none. Only whether Vertex AI restarts can be chosen, not how often ("Understand the custom
  training service": each worker five times, then the whole job three times).
- A TensorBoard instance needs a service account, and must be in the job's region ("Use Vertex AI TensorBoard with
  custom training").
- A trial's hyperparameters are appended to the arguments as --name=value. Its metric is what the program reports
  through cloudml-hypertune ("Overview of hyperparameter tuning").
"""

import dataclasses
import re
import shlex
from typing import Any

import yaml

from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.job import Files, Job

METRIC = "eval_return_mean"  # what the trainer reports through cloudml-hypertune
_TRIALS, _TRIALS_AT_ONCE = 12, 3
_TENSORBOARD = re.compile(r"projects/[^/\s]+/locations/([^/\s]+)/tensorboards/[^/\s]+")


def files(job: Job) -> Files:
    """Returns custom_job.yaml and hp_tuning_job.yaml; with an evaluator worker_pools.yaml too.

    Raises:
      ConfigError: Vertex AI would not take the job.
    """
    problems = _problems(job)
    if problems:
        raise ConfigError(*problems)
    region, name = f"--region={job.region}", f"--display-name={job.name}"
    submit = ("gcloud", "ai", "custom-jobs", "create", region, name, "--config=custom_job.yaml")
    tune = ("gcloud", "ai", "hp-tuning-jobs", "create", region, f"{name}-tuning", "--config=hp_tuning_job.yaml")
    tune += (f"--max-trial-count={_TRIALS}", f"--parallel-trial-count={_TRIALS_AT_ONCE}")  # not gcloud's defaults
    trials = f"{_TRIALS} trials, {_TRIALS_AT_ONCE} at once, each the whole run on all machines"
    spec = custom_job(job)
    contents = {}
    if job.evaluator:
        submit += ("--flags-file=worker_pools.yaml",)
        pools = _pool_flags(spec.pop("workerPoolSpecs"), job.arguments)
        contents["worker_pools.yaml"] = _text(job, "worker pools as flags of gcloud", submit, pools)
    contents["custom_job.yaml"] = _text(job, "a CustomJobSpec", submit, spec)
    contents["hp_tuning_job.yaml"] = _text(job, f"a HyperparameterTuningJob of {trials}", tune, tuning_job(job))
    newest = f"gcloud ai custom-jobs list {region} --filter=displayName={job.name} --sort-by=~createTime --limit=1"
    return Files(
        contents=contents,
        submit=submit,
        watch=(
            f"gcloud ai custom-jobs stream-logs {region} $({newest} --format='value(name)')",
            f"tensorboard --logdir={shlex.quote(job.place)}/logs",
        ),
    )


def custom_job(job: Job) -> dict[str, Any]:
    """Returns the CustomJobSpec of a job."""
    pools = [_pool(job, 1)]
    if job.workers > 1:
        pools.append(_pool(job, job.workers - 1))
    if job.evaluator:
        pools += [{} for _ in range(3 - len(pools))]  # the evaluator is pool 3
        pools.append(_pool(job, 1))
    spec: dict[str, Any] = {
        "workerPoolSpecs": pools,
        "scheduling": _scheduling(job),
        "baseOutputDirectory": {"outputUriPrefix": job.place},
    }
    if job.identity:
        spec["serviceAccount"] = job.identity
    if job.tensorboard:
        spec["tensorboard"] = job.tensorboard
    return spec


def tuning_job(job: Job) -> dict[str, Any]:
    """Returns the HyperparameterTuningJob of a job: learning rate and batch size by the mean evaluation return."""
    tuned = ("--learning_rate=", "--batch_size=")
    flags = tuple(flag for flag in job.flags if not flag.startswith(tuned))
    trial = custom_job(dataclasses.replace(job, flags=flags, evaluator=False))  # the chief must report the metric
    replicas = job.workers * max(1, job.gpus)
    sizes = sorted({-(-size // replicas) * replicas for size in (32, 64, 128)})  # divisible among the replicas
    return {
        "displayName": f"{job.name}-tuning",
        "studySpec": {
            "metrics": [{"metricId": METRIC, "goal": "MAXIMIZE"}],
            "parameters": [
                {
                    "parameterId": "learning_rate",
                    "doubleValueSpec": {"minValue": 0.0001, "maxValue": 0.005},
                    "scaleType": "UNIT_LOG_SCALE",
                },
                {"parameterId": "batch_size", "discreteValueSpec": {"values": sizes}},
            ],
            "measurementSelectionType": "BEST_MEASUREMENT",  # the run exports its best model
        },
        "maxTrialCount": _TRIALS,
        "parallelTrialCount": _TRIALS_AT_ONCE,
        "trialJobSpec": trial,
    }


def _pool(job, replicas):
    machine = {"machineType": job.machine}
    if job.gpus:
        machine |= {"acceleratorType": job.gpu_type, "acceleratorCount": job.gpus}
    return {
        "machineSpec": machine,
        "replicaCount": replicas,
        "containerSpec": {"imageUri": job.image, "args": list(job.arguments)},
    }


def _pool_flags(pools, arguments):
    """Returns the pools as flags of gcloud, one mapping for each."""
    flags: list[dict[str, Any]] = []
    for pool in pools:
        flag = {}
        if pool:
            machine = pool["machineSpec"]
            flag = {"machine-type": machine["machineType"], "replica-count": pool["replicaCount"]}
            if "acceleratorType" in machine:
                flag |= {"accelerator-type": machine["acceleratorType"]}
                flag |= {"accelerator-count": machine["acceleratorCount"]}
            flag["container-image-uri"] = pool["containerSpec"]["imageUri"]
        flags.append({"--worker-pool-spec": flag})
    return [*flags, {"--args": list(arguments)}]


def _scheduling(job):
    scheduling = {"timeout": f"{job.max_seconds}s"}
    if job.max_restarts:
        # A collective needs all workers: a single restarted worker would wait for ever.
        scheduling["restartJobOnWorkerRestart"] = True
    else:
        scheduling["disableRetries"] = True
    if job.spot:
        scheduling["strategy"] = "SPOT"
    return scheduling


def _problems(job):
    problems = []
    if bool(job.gpus) != bool(job.gpu_type):
        problems.append(
            f"--gpus={job.gpus} and --gpu_type={job.gpu_type}: Vertex AI needs both or none, such as --gpus=1 "
            "--gpu_type=NVIDIA_TESLA_T4."
        )
    if job.tensorboard:
        match = _TENSORBOARD.fullmatch(job.tensorboard)
        if match is None:
            problems.append(
                f"--tensorboard={job.tensorboard} must be the name of a Vertex AI TensorBoard instance: "
                "projects/PROJECT/locations/REGION/tensorboards/ID; gcloud ai tensorboards list shows them."
            )
        elif match[1] != job.region:
            problems.append(
                f"--tensorboard={job.tensorboard} is in {match[1]}, the job in {job.region}; take one of that region."
            )
        if not job.identity:
            problems.append(
                f"--tensorboard={job.tensorboard} needs a service account that may write to it; give --identity=EMAIL."
            )
    return problems


def _text(job, title, submit, tree):
    header = f"# Made by: {job.command}\n# Vertex AI, {title}: {' '.join(submit)}\n"
    return header + yaml.safe_dump(tree, sort_keys=False, width=10_000, allow_unicode=True)
