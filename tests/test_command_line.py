"""train.py as its users start it: every strategy, what a run leaves, every mistake, signals."""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import threading

import pytest

from dqn_tf.config import presets
from dqn_tf.persistence import run_directory
from tests import marks, runs

# ../shared/design.md, "Names that others rely on".
SUMMARY = [
    "env",
    "seed",
    "strategy",
    "num_workers",
    "num_replicas",
    "env_steps",
    "updates",
    "episodes",
    "wall_seconds",
    "env_steps_per_second",
    "updates_per_second",
    "frames_per_env_step",
    "frames",
    "actor_wait_share",
    "learner_wait_share",
    "eval_return_mean",
    "eval_return_std",
    "eval_return_max",
    "eval_episodes",
    "last_eval_return_mean",
    "threshold",
    "threshold_env_steps",
    "threshold_seconds",
    "versions",
    "files",
]
TAGS = {
    "train/episode_return",
    "train/episode_length",
    "train/loss",
    "train/q_mean",
    "train/td_error_mean",
    "train/gradient_norm",
    "train/epsilon",
    "train/learning_rate",
    "eval/return_mean",
    "eval/return_max",
    "time/env_steps_per_second",
    "time/updates_per_second",
    "time/actor_wait_share",
    "time/learner_wait_share",
}
LONG = ["--train_env_steps=10000000", "--replay_capacity=10000", "--eval_period=0", "--checkpoint_period=0"]
NUM_UPDATES = (1200 - 200) // 40 * 20  # of runs.SMALL


def together(*processes):
    """Returns the CompletedProcess of each of these processes, which need one another."""
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as executor:
        return list(executor.map(runs.finish, processes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("command_line")


@pytest.fixture(scope="module")
def without_tensorflow(folder):
    return runs.without_tensorflow(folder / "modules")


@pytest.fixture(scope="module")
def default(folder):
    """Returns the finished command of the default strategy; its run is in folder/default."""
    return runs.command(*runs.SMALL, f"--logdir={folder}/default")


@pytest.fixture(scope="module")
def mirrored(folder):
    return runs.command(*runs.SMALL, "--strategy=mirrored", f"--logdir={folder}/mirrored")


@pytest.fixture(scope="module")
def multiworker(folder):
    """Returns the finished command that starts its own cluster, where a proxy is set and nobody is there."""
    proxies = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    return runs.command(*runs.SMALL, "--strategy=multiworker", f"--logdir={folder}/multiworker", **proxies)


@pytest.fixture(scope="module")
def cluster_file(folder):
    """Returns the two finished commands of a cluster of a file."""
    path = folder / "cluster.json"
    path.write_text(json.dumps({"cluster": {"worker": runs.addresses(2)}}))
    flags = [*runs.SMALL, "--strategy=multiworker", f"--tf_config={path}", f"--logdir={folder}/cluster_file"]
    return together(*(runs.start(*flags, f"--task_index={index}") for index in (0, 1)))


@pytest.fixture(scope="module")
def tf_config(folder):
    """Returns the finished commands of a chief and a worker that TF_CONFIG names, with a ps that takes no part."""
    chief, worker, ps = runs.addresses(3)
    flags = [*runs.SMALL, "--strategy=multiworker", f"--logdir={folder}/tf_config"]
    cluster = {"chief": [chief], "worker": [worker], "ps": [ps]}
    return together(
        *(
            runs.start(*flags, TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": task, "index": 0}}))
            for task in ("chief", "worker")
        )
    )


STRATEGIES = {
    "default": ("default", 1, 1),
    "mirrored": ("mirrored", 1, 2),
    "multiworker": ("multiworker", 2, 2),
    "cluster_file": ("multiworker", 2, 2),
    "tf_config": ("multiworker", 2, 2),
}


@pytest.fixture(params=["default", "mirrored", "multiworker", *marks.thorough("cluster_file", "tf_config")])
def strategy(request):
    """Names each way to run in turn; its command has finished, its run is in folder/<name>."""
    request.getfixturevalue(request.param)
    return request.param


@pytest.mark.parametrize("name", ["default", "mirrored", "multiworker"])
def test_command_of_a_strategy_ends_well_and_says_so_on_stderr(request, folder, name):
    process = request.getfixturevalue(name)
    assert (process.returncode, process.stdout) == (0, ""), process.stderr
    assert "Traceback" not in process.stderr
    result = process.stderr.splitlines()[-1].removeprefix("[worker 0] ")
    assert result.startswith("result: return ") and result.endswith(f", in {folder}/{name}")


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["cluster_file", "tf_config"])
def test_commands_of_a_cluster_end_well_and_only_the_chief_tells_the_result(request, name):
    chief, worker = request.getfixturevalue(name)
    assert [chief.returncode, worker.returncode] == [0, 0], chief.stderr + worker.stderr
    assert chief.stdout + worker.stdout == ""
    assert "result: " in chief.stderr and "result: " not in worker.stderr
    assert "Traceback" not in chief.stderr + worker.stderr


@pytest.mark.parametrize(
    "name, line",
    [
        ("default", "strategy: one replica on the CPU, because --strategy=default"),
        (
            "mirrored",
            "strategy: MirroredStrategy, 2 replicas, because --strategy=mirrored and no GPU is visible: logical CPUs",
        ),
    ],
)
def test_command_logs_the_strategy_with_its_reason(request, name, line):
    assert line in request.getfixturevalue(name).stderr.splitlines()


@pytest.mark.thorough
def test_commands_of_a_cluster_log_their_task_and_which_source_won(cluster_file, tf_config, folder):
    lines = [process.stderr.splitlines() for process in (*cluster_file, *tf_config)]
    expected = [
        ("worker 0", f"--tf_config={folder}/cluster.json"),
        ("worker 1", f"--tf_config={folder}/cluster.json"),
        ("chief 0", "TF_CONFIG in the environment"),
        ("worker 0", "TF_CONFIG in the environment"),
    ]
    for written, (task, source) in zip(lines, expected, strict=True):
        assert (
            f"strategy: MultiWorkerMirroredStrategy, {task} of 2 workers, because --strategy=multiworker and {source}"
        ) in written


def test_command_that_starts_a_cluster_prefixes_each_line_with_the_worker(multiworker):
    lines = multiworker.stderr.splitlines()
    assert lines[0].startswith("cluster: 2 workers on this machine, 127.0.0.1 ports ")
    assert {line.split("] ")[0] for line in lines[1:]} == {"[worker 0", "[worker 1"}
    assert [line for line in lines if "result: " in line and not line.startswith("[worker 0]")] == []


def test_run_leaves_these_files_and_no_others(strategy, folder):
    names = sorted(path.name for path in (folder / strategy).iterdir())
    events = [name for name in names if name.startswith("events.out.tfevents.")]
    assert len(events) == 1  # only the chief writes
    assert sorted(set(names) - set(events)) == sorted(
        [".files", ".lock", ".newest", "config.json", "metrics.jsonl", "checkpoints", "model"]
        + ["reward_curve.png", "summary.json"]
    )
    assert sorted(path.name for path in (folder / strategy / "model").iterdir()) == ["q_network.keras", "saved_model"]
    assert runs.checkpoints(folder / strategy) == [400, 800, 1200]
    assert (folder / strategy / "reward_curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_run_leaves_a_summary_of_these_keys_and_the_same_counts_under_every_strategy(strategy, folder):
    summary = runs.read_json(folder / strategy / "summary.json")
    name, num_workers, num_replicas = STRATEGIES[strategy]
    assert list(summary) == SUMMARY
    assert (summary["env"], summary["seed"], summary["threshold"]) == ("CartPole-v1", 0, 475.0)
    assert (summary["strategy"], summary["num_workers"], summary["num_replicas"]) == (name, num_workers, num_replicas)
    assert (summary["env_steps"], summary["updates"], summary["eval_episodes"]) == (1200, NUM_UPDATES, 7)
    assert summary["episodes"] == len(runs.rows(folder / strategy, "train/episode_return"))
    assert 0 < summary["eval_return_mean"] <= summary["eval_return_max"]
    assert min(summary[name] for name in ("wall_seconds", "env_steps_per_second", "updates_per_second")) > 0
    assert (summary["frames_per_env_step"], summary["frames"]) == (None, None)  # CartPole has none
    assert 0 <= summary["actor_wait_share"] <= 1 and 0 <= summary["learner_wait_share"] <= 1
    assert set(summary["versions"]) == {"python", "dqn_tf", "tensorflow", "keras", "gymnasium", "numpy", "ale_py"}


def test_run_leaves_rows_and_events_of_the_same_tags_and_steps(strategy, folder):
    lines = (folder / strategy / "metrics.jsonl").read_text().splitlines()
    expected = {tag: [] for tag in TAGS}
    for row in map(json.loads, lines):
        for tag in row.keys() - {"env_steps"}:
            expected[tag].append((row["env_steps"], pytest.approx(row[tag], rel=1e-6)))  # events are float32
    assert runs.scalars(folder / strategy) == expected
    assert [step for step, _ in expected["eval/return_mean"]] == [400, 800, 1200]
    assert [step for step, _ in expected["train/epsilon"]] == [200, 400, 600, 800, 1000, 1200]
    for tag in ("train/loss", "time/actor_wait_share", "time/learner_wait_share"):  # since there are updates
        assert [step for step, _ in expected[tag]] == [400, 600, 800, 1000, 1200]


def test_run_leaves_its_config_as_text_for_tensorboard(default, folder):
    (event,) = runs.events(folder / "default").Tensors("config")
    (text,) = event.tensor_proto.string_val
    assert b"| training.num_envs | 8 |" in text and b"| network.hidden_units | 16,16 |" in text


def test_run_explores_alike_under_every_strategy_until_it_learns(strategy, default, folder):
    # Environment i has the same seed and the same exploration whichever worker runs it.
    def episodes(name):
        return [row for row in runs.rows(folder / name, "train/episode_return") if row["env_steps"] <= 240]

    assert len(episodes("default")) > 3
    assert episodes(strategy) == episodes("default")


@pytest.mark.thorough
def test_run_from_the_config_json_of_another_gives_the_same_weights(default, folder, tmp_path):
    process = runs.command(f"--config={folder}/default/config.json", f"--logdir={tmp_path}")
    assert process.returncode == 0, process.stderr
    assert runs.bits(tmp_path) == runs.bits(folder / "default")
    assert runs.rows(tmp_path) == runs.rows(folder / "default")
    assert (tmp_path / "config.json").read_text() == (folder / "default" / "config.json").read_text()


@pytest.mark.thorough
def test_run_that_is_made_longer_goes_on_from_its_end_under_another_strategy(default, folder, tmp_path):
    shutil.copytree(folder / "default", tmp_path, dirs_exist_ok=True)
    process = runs.command(*runs.SMALL, "--strategy=multiworker", "--train_env_steps=2400", f"--logdir={tmp_path}")
    assert process.returncode == 0, process.stderr
    path = tmp_path / "checkpoints" / "ckpt-1200"
    assert f"resume: {path} at 1200 env steps, {NUM_UPDATES} updates\n" in process.stderr
    before, after = (runs.read_json(directory / "summary.json") for directory in (folder / "default", tmp_path))
    assert after["env_steps"] == 2400
    assert after["updates"] == NUM_UPDATES + (2400 - 1200) // 40 * 20
    assert after["wall_seconds"] > before["wall_seconds"]
    rows = runs.rows(folder / "default")
    assert runs.rows(tmp_path)[: len(rows)] == rows
    assert all(row["env_steps"] > 1200 for row in runs.rows(tmp_path)[len(rows) :])
    assert runs.steps(tmp_path, "eval/return_mean") == [400, 800, 1200, 1600, 2000, 2400]
    assert after["episodes"] == len(runs.rows(tmp_path, "train/episode_return")) > before["episodes"]
    assert runs.checkpoints(tmp_path)[-1] == 2400


@pytest.mark.parametrize("strategy_flag", ["--strategy=default", "--strategy=multiworker"])
def test_run_that_is_finished_says_so_and_ends_well(default, folder, without_tensorflow, strategy_flag):
    logdir = folder / "default"
    before = {path: path.read_bytes() for path in logdir.rglob("*") if path.is_file()}
    process = runs.command(*runs.SMALL, strategy_flag, f"--logdir={logdir}", PYTHONPATH=without_tensorflow)
    assert (process.returncode, process.stdout) == (0, "")
    assert process.stderr == f"finished: {logdir} holds all 1200 env steps\n"
    assert {path: path.read_bytes() for path in logdir.rglob("*") if path.is_file()} == before


def test_help_is_printed_without_tensorflow(without_tensorflow):
    process = runs.command("--help", PYTHONPATH=without_tensorflow)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("Trains a DQN: python train.py [flags].")


def test_help_into_a_pipe_that_is_closed_says_nothing(without_tensorflow):
    process = runs.start("--help", PYTHONPATH=without_tensorflow)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(runs.SECONDS)
    process.stderr.close()


def refused(without_tensorflow, *argv, **environment):
    """Returns the lines of a command that is refused, before TensorFlow is imported."""
    process = runs.command(*argv, PYTHONPATH=without_tensorflow, **environment)
    assert (process.returncode, process.stdout) == (2, ""), process.stderr
    return process.stderr.splitlines()


def cluster(task, **jobs):
    return json.dumps({"cluster": jobs, "task": task})


MULTIWORKER = ["--strategy=multiworker"]
SHAPE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


@pytest.mark.parametrize(
    "argv, environment, lines",
    [
        (
            ["--env=CartPol-v1"],
            {},
            ["--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?"],
        ),
        (
            [*MULTIWORKER, "--num_workers=2", "--batch_size=33"],
            {},
            ["--batch_size=33 must be divisible by the 2 replicas in sync (2 workers x 1 replicas); try 32 or 34."],
        ),
        (
            MULTIWORKER,
            {"TF_CONFIG": cluster({"type": "worker", "index": 3}, worker=["a:1", "b:1"])},
            ["TF_CONFIG names task worker/3 but the cluster has workers 0-1."],
        ),
        (
            ["--logdir=train.py/run"],
            {},
            ["--logdir=train.py/run cannot be written: Not a directory."],
        ),
        (
            [*MULTIWORKER, "--env=CartPol-v1", "--seed=-1", "--preset=a\nb", "--lernrate=1"],
            {"TF_CONFIG": "[]"},
            [
                "--lernrate=1 is an unknown flag; did you mean --learning_rate?",
                "--seed=-1 must be a whole number from 0 to 2147483647.",
                f"--preset=a\\nb must be one of auto, {', '.join([*presets.PRESETS, *presets.ALGORITHMS])}.",
                "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?",
                f'TF_CONFIG cannot be used (it is a list, not an object): "[]"; it must look like {SHAPE}.',
            ],
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) and "--" in "".join(value) else "",
)
def test_mistakes_are_one_line_each_and_code_2_before_tensorflow(
    without_tensorflow, tmp_path, argv, environment, lines
):
    directory = [] if any(argument.startswith("--logdir") for argument in argv) else [f"--logdir={tmp_path}/run"]
    assert refused(without_tensorflow, *runs.SMALL, *directory, *argv, **environment) == lines
    assert not (tmp_path / "run").exists()


def test_logdir_of_a_run_of_another_architecture_is_refused(default, folder, without_tensorflow):
    argv = [*runs.SMALL, "--hidden_units=32", "--train_env_steps=2400", f"--logdir={folder}/default"]
    assert refused(without_tensorflow, *argv) == [
        f"checkpoint {folder}/default was trained with network.hidden_units=[16, 16], this run asks for [32]; "
        "use a new --logdir or the old value."
    ]


def test_logdir_that_another_process_writes_is_refused(without_tensorflow, tmp_path):
    with run_directory.RunDirectory(str(tmp_path)).acquired():
        for strategy_flags in ([], MULTIWORKER):
            assert refused(without_tensorflow, *runs.SMALL, *strategy_flags, f"--logdir={tmp_path}") == [
                f"--logdir={tmp_path} is being written by another process; use a new --logdir."
            ]


@pytest.mark.parametrize(
    "flag, line",
    [
        ("--resume=never", "--resume=never but --logdir={} holds a run; use a new --logdir."),
        ("--resume=must", "--resume=must but --logdir={}/none holds no checkpoint; use the --logdir of a run."),
    ],
)
def test_logdir_that_resume_does_not_allow_is_refused(default, folder, without_tensorflow, flag, line):
    logdir = folder / "default" if flag == "--resume=never" else folder / "default" / "none"
    argv = [*runs.SMALL, flag, "--train_env_steps=2400", f"--logdir={logdir}"]
    assert refused(without_tensorflow, *argv) == [line.format(folder / "default")]
    shutil.rmtree(folder / "default" / "none", ignore_errors=True)


@pytest.mark.thorough
def test_loss_that_is_not_finite_ends_the_command_with_code_2_and_one_line(tmp_path):
    argv = [*runs.SMALL, "--learning_rate=1e30", "--learning_rate_schedule=constant", "--checkpoint_period=100"]
    process = runs.command(*argv, f"--logdir={tmp_path}")
    assert (process.returncode, process.stdout) == (2, "")
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1] == (
        "the loss is not finite in updates 1 to 20; lower --learning_rate or --clip_norm. "
        f"The last good checkpoint is {tmp_path}/checkpoints/ckpt-200."
    )
    assert runs.checkpoints(tmp_path)[-1] == 200


class Reader:
    """Reads a process's stderr until what is waited for has come, and then to its end."""

    def __init__(self, process):
        self._process = process
        self.lines = []
        self._timer = threading.Timer(runs.SECONDS, runs.kill, [process])
        self._timer.start()

    def wait_for(self, *texts):
        missing = set(texts)
        while missing:
            line = self._process.stderr.readline()
            assert line, f"{missing} did not come in " + "".join(self.lines)
            self.lines.append(line)
            missing = {text for text in missing if text not in line}

    def finish(self):
        """Returns the exit code of the process."""
        self.lines += self._process.stderr.readlines()
        code = self._process.wait()
        self._timer.cancel()
        runs.kill(self._process)
        return code


@pytest.fixture
def running(tmp_path):
    """Returns a long multiworker command that has begun to learn: its process, reader and workers' pids by index."""
    if sys.platform != "linux":
        pytest.skip("finds the workers in /proc")
    process = runs.start(*runs.SMALL, *LONG, *MULTIWORKER, f"--logdir={tmp_path}/run")
    workers = {}
    try:
        reader = Reader(process)
        reader.wait_for("first update")
        workers = runs.workers(process.pid)
        assert sorted(workers) == [0, 1]
        yield process, reader, workers
    finally:
        runs.kill(process)
        for pid in workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.stdout.close()
        process.stderr.close()


@pytest.mark.thorough
def test_signal_to_a_multiworker_command_leaves_no_process(running):
    process, reader, workers = running
    process.send_signal(signal.SIGINT)
    assert reader.finish() == 128 + signal.SIGINT
    runs.wait_until_gone(workers.values())
    assert "Traceback" not in "".join(reader.lines)


@pytest.mark.thorough
def test_kill_of_a_multiworker_command_leaves_no_process(running):
    process, reader, workers = running
    process.kill()
    assert reader.finish() == -signal.SIGKILL
    runs.wait_until_gone(workers.values())


@pytest.mark.thorough
def test_workers_that_do_not_see_the_chiefs_directory_are_told_so(default, folder, tmp_path):
    shutil.copytree(folder / "default", tmp_path / "chief")
    (tmp_path / "cluster.json").write_text(json.dumps({"cluster": {"worker": runs.addresses(2)}}))
    flags = [*runs.SMALL, *MULTIWORKER, "--train_env_steps=2400", f"--tf_config={tmp_path}/cluster.json"]
    chief = runs.start(*flags, "--task_index=0", f"--logdir={tmp_path}/chief")
    worker = runs.start(*flags, "--task_index=1", f"--logdir={tmp_path}/worker")
    done = together(chief, worker)
    for process in done:
        assert process.returncode == 2, process.stderr
        assert process.stderr.splitlines()[-1] == (
            f"--logdir={tmp_path}/{'chief' if process is done[0] else 'worker'}: not all workers see the chief's "
            "config.json there; give all workers one directory that all of them see."
        )


@pytest.mark.parametrize("number", [signal.SIGINT, *marks.thorough(signal.SIGHUP)])
def test_signal_to_a_default_command_says_how_to_go_on(tmp_path, number):
    process = runs.start(*runs.SMALL, *LONG, f"--logdir={tmp_path}/run")
    try:
        reader = Reader(process)
        reader.wait_for("first update")
        os.killpg(process.pid, number)  # as a terminal does
        assert reader.finish() == 128 + number
        assert f"{number.name}: saving at the end of this round\n" in reader.lines
        assert re.fullmatch(r"stopped at \d+ env steps, saved; the same command resumes from there\n", reader.lines[-1])
        assert "Traceback" not in "".join(reader.lines)
    finally:
        runs.kill(process)
        process.stdout.close()
        process.stderr.close()
