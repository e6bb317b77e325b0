"""The batch script that is written: read by bash and shellcheck, and run against a stand-in for Slurm."""

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
import sysconfig

import pytest

import dqn_tf
from dqn_tf.config import schema
from dqn_tf.jobs import slurm
from tests.jobs import jobs

# Starts the tasks as srun does: 3 on the nodes n9 and n10, 2 and 1; answers with the highest exit code.
SRUN = """
import os, subprocess, sys
words = sys.argv[1:]
with open("calls", "a") as file:
    print("srun", *words, file=file)
while words[0].startswith("--"):
    words.pop(0)
step = dict(SLURM_STEP_NUM_TASKS="3", SLURM_STEP_NODELIST="n[9-10]", SLURM_STEP_TASKS_PER_NODE="2,1")
places = [(0, 0), (1, 1), (2, 0)]
if "--overlap" in sys.argv:
    step, places = dict(SLURM_STEP_NUM_TASKS="1", SLURM_STEP_NODELIST="n9", SLURM_STEP_TASKS_PER_NODE="1"), [(0, 0)]
tasks = [
    subprocess.Popen(words, env={**os.environ, **step, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(local)})
    for number, local in places
]
sys.exit(max(task.wait() for task in tasks))
"""
# Takes the part of `python train.py`: says which worker it is of whom, and leaves with the code it is told.
PYTHON = """
import os, sys
if "--task_type=evaluator" in sys.argv:
    print("evaluator", os.environ["CUDA_VISIBLE_DEVICES"] == "")
    sys.exit(int(os.environ.get("EVALUATOR_CODE", 0)))
from dqn_tf.cluster import topology
cluster = topology.resolve(os.environ)
# One write for the line, which those of other tasks cannot come between.
os.write(1, " ".join([str(cluster.index), *cluster.workers, *sys.argv[1:], "\\n"]).encode())
sys.exit(int(os.environ["CODE"]) if cluster.index == 1 else 0)
"""
SCONTROL = """
import sys
with open("calls", "a") as file:
    print("scontrol", *sys.argv[1:], file=file)
"""


def make_job(**changes):
    own = dict(workers=3, machine="", region="", image="", gpus=0)
    own |= dict(storage="/shared/my runs", flags=("--env=CartPole-v1",))
    return jobs.make_job(**{**own, **changes})


def script(job):
    return slurm.files(job).contents["job.sbatch"]


def directives(job):
    return [line.removeprefix("#SBATCH --") for line in script(job).splitlines() if line.startswith("#SBATCH")]


@pytest.fixture(name="play")
def _play(tmp_path):
    """Returns a function that runs a job's script and returns its exit code, its output and the calls to Slurm."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, source in (("srun", SRUN), ("python", PYTHON), ("scontrol", SCONTROL)):
        path = programs / name
        path.write_text(f"#!{sys.executable}\n{source}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def play(job, code, **environ):
        (tmp_path / "job.sbatch").write_text(script(job))
        (tmp_path / "calls").write_text("")
        root = os.path.dirname(os.path.dirname(dqn_tf.__file__))
        environ = {**os.environ, "PYTHONPATH": root, "CODE": str(code), "SLURM_JOB_ID": "17", **environ}
        environ["PATH"] = f"{programs}:{os.environ['PATH']}"
        words = ["bash", "job.sbatch"]
        ended = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
        return ended.returncode, ended.stdout + ended.stderr, (tmp_path / "calls").read_text().splitlines()

    return play


SCRIPTS = {
    "workers": make_job(),
    "evaluator": make_job(evaluator=True, gpus=2, cores=8, partition="gpu", identity="lab"),
    "odd words": make_job(flags=("--env=a b:$HOME'\"`x`\\-v0",), storage="/a b/$(x)"),
}


@pytest.mark.parametrize("job", SCRIPTS.values(), ids=SCRIPTS)
def test_script_is_read_by_bash(job):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    assert subprocess.run(["bash", "-n"], input=script(job), text=True).returncode == 0


@pytest.mark.parametrize("job", SCRIPTS.values(), ids=SCRIPTS)
def test_script_passes_shellcheck(job):
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    program = shutil.which("shellcheck", path=path)
    if program is None:
        pytest.skip("needs shellcheck, of the extra [cloud]")
    ended = subprocess.run([program, "-"], input=script(job), capture_output=True, text=True)
    # An odd word in single quotes is what is meant there.
    found = [line for line in ended.stdout.splitlines() if "SC" in line and "SC2016" not in line]
    assert found == [], ended.stdout


def test_script_asks_for_what_the_job_says():
    job = make_job(workers=4, gpus=2, cores=8, partition="gpu", identity="lab", max_seconds=93_601)
    job = dataclasses.replace(job, grace_seconds=90, memory_gib=5)
    assert directives(job) == [
        "job-name=dqn-run",
        "nodes=4",
        "ntasks=4",
        "ntasks-per-node=1",
        "cpus-per-task=8",
        "mem=5G",
        "gpus-per-node=2",
        "partition=gpu",
        "account=lab",
        "time=1-02:01:00",  # 93,601 s are 26 h and a second; Slurm counts minutes
        "signal=TERM@90",
        "requeue",
        "open-mode=append",
        "output=dqn-run.log",
    ]


def test_script_where_nothing_is_said_leaves_it_to_the_cluster():
    text = "\n".join(directives(make_job()))
    assert not [name for name in ("gpus", "partition", "account") if name in text]
    assert "cpus-per-task=2" in text and "mem=2G" in text


def test_evaluator_has_memory_of_its_own_on_the_node_that_it_shares():
    assert "mem=7G" in directives(make_job(evaluator=True, memory_gib=5))


def test_step_when_run_is_one_cluster(play):
    code, output, calls = play(make_job(), 0)
    workers = "n9:13376 n9:13377 n10:13376"  # of job 17: tf_config/README.md
    rest = "train.py --strategy=multiworker --env=CartPole-v1 --logdir=/shared/my runs/dqn-run"
    assert sorted(output.splitlines()) == [f"{i} {workers} {rest} " for i in range(3)]
    assert code == 0
    (step,) = calls
    cluster = "srun --distribution=block --kill-on-bad-exit=1 --ntasks=3 --cpus-per-task=2"
    assert step.startswith(f"{cluster} python train.py ")


def test_job_when_a_worker_wants_a_new_start_is_requeued(play):
    code, output, calls = play(make_job(), 143)
    assert calls[1:] == ["scontrol requeue 17"]
    assert code == 143 and "restart 1 of 3" in output


@pytest.mark.parametrize("restarts, requeued", [("2", True), ("3", False)])
def test_job_is_requeued_at_most_max_restarts_times(play, restarts, requeued):
    code, _, calls = play(make_job(max_restarts=3), 143, SLURM_RESTART_COUNT=restarts)
    assert (code, "scontrol requeue 17" in calls) == (143, requeued)


@pytest.mark.parametrize("given", [0, 1, 2, 130])
def test_job_when_a_worker_ends_otherwise_passes_its_code_on(play, given):
    code, _, calls = play(make_job(), given)
    assert code == given and not [call for call in calls if call.startswith("scontrol")]


def test_evaluator_runs_beside_the_workers_without_a_gpu(play):
    code, output, calls = play(make_job(evaluator=True), 0)
    assert "evaluator True" in output.splitlines()
    (step,) = [call for call in calls if "--overlap" in call]
    assert "--ntasks=1" in step and step.endswith("--task_type=evaluator")
    assert code == 0 and len(calls) == 2


def test_job_waits_for_its_evaluator_and_says_how_it_ended(play):
    code, output, _ = play(make_job(evaluator=True), 0, EVALUATOR_CODE="3")
    assert code == 0 and "the evaluator ended with exit code 3" in output.splitlines()


def test_odd_words_arrive_as_they_are(play):
    _, output, _ = play(SCRIPTS["odd words"], 0)
    assert "--env=a b:$HOME'\"`x`\\-v0 --logdir=/a b/$(x)/dqn-run" in output


def test_time_that_the_grace_eats_is_refused():
    with pytest.raises(schema.ConfigError, match="--max_hours=0.05 leaves no minute before --grace_seconds=121"):
        slurm.files(make_job(max_seconds=180, grace_seconds=121))
    slurm.files(make_job(max_seconds=180, grace_seconds=120))
