"""Makes jobs and machines for the tests."""

from dqn_tf.cluster.jobs.job import Job
from dqn_tf.cluster.jobs.prices import Machine


def make_machine(**changes) -> Machine:
    """Returns a machine of Vertex AI with one GPU."""
    fields = dict(
        platform="vertex",
        name="n1-standard-8",
        region="us-central1",
        cores=8,
        memory_gb=30.0,
        gpus=4,
        gpu="NVIDIA_TESLA_T4",
        usd_per_hour=0.4,
        usd_per_hour_spot=0.1,
        gpu_usd_per_hour=0.3,
        gpu_usd_per_hour_spot=0.1,
        source="a price list",
        date="2026-01-01",
    )
    return Machine(**{**fields, **changes})


def make_job(**changes) -> Job:
    """Returns a job of four workers with a GPU each, whose numbers divide among them."""
    fields = dict(
        name="dqn-run",
        flags=("--env=CartPole-v1", "--batch_size=96", "--overlap=false"),
        strategy="multiworker",
        workers=4,
        gpus=1,
        machine=make_machine(),
        region="us-central1",
        image="registry.example.com/dqn_tf:1",
        storage="gs://bucket/runs",
        spot=False,
        evaluator=False,
        tensorboard="",
        identity="",
        max_seconds=3600,
        max_restarts=3,
        grace_seconds=120,
    )
    return Job(**{**fields, **changes})
