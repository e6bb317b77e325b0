"""A manifest as a run would have written it, for tests to change."""

import dataclasses

from dqn_tf.config import schema, settings
from dqn_tf.persistence import manifest, progress, results
from dqn_tf.persistence.archive import File
from dqn_tf.persistence.manifest import Manifest, Segment, WorkerPart

CONFIG = settings.to_json(schema.Config())  # rounds of 80 env steps


def file(path):
    return File(path, 3, "ab" * 32)


def of(env_steps=160, of_config=None, **changes):
    """Returns a Manifest of a run of the defaults, unless told otherwise, with a worker whose replay has a segment."""
    place = f"ckpt-{env_steps}"
    segment = Segment(0, env_steps - 32, file(f"{place}/replay-0-of-1-0.npz"))
    made = Manifest(
        env_steps=env_steps,
        progress=dataclasses.asdict(progress.Progress(env_steps=env_steps)),
        model=(file(f"{place}/model.index"), file(f"{place}/model.data-00000-of-00001")),
        workers=(WorkerPart(file(f"{place}/worker-0-of-1.npz"), segment.end, (segment,)),),
        journal={"metrics.jsonl": 17},
        config=CONFIG if of_config is None else settings.to_json(of_config),
        versions={"python": "3.11.9"},
    )
    return dataclasses.replace(made, **changes)


def leave(directory, of_config=None, env_steps=160):
    """Leaves a checkpoint, without its files, and config.json in a RunDirectory; returns that."""
    directory.checkpoints.joinpath(f"ckpt-{env_steps}").mkdir(parents=True)
    made = of(env_steps, of_config)
    directory.write_json("config.json", made.config)
    manifest.commit(directory.checkpoints, made.env_steps, manifest.to_text(made))
    return directory


def leave_results(directory, env_steps):
    """Leaves a model and summary.json there, as a finished run does; returns a file of the model."""
    path = directory.path / "model" / "q_network.keras"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    directory.write_json("summary.json", {"env_steps": env_steps, "files": results.describe(directory.path)})
    return path
