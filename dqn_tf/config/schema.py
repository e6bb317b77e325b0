"""The configuration of a run: one frozen dataclass tree and the checks that join its fields.

A field carries its default, help, unit and source; the command line, `--help`, `config.json` and the
documentation are all made from these (`settings.py`). Every number speaks of the whole run, never of one
worker. TensorFlow is not imported here, so a mistake is answered in well under a second.
"""

import dataclasses
import json
import types
from typing import Any

from dqn_tf.config import combinations

OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "centered_rmsprop", "ftrl"),
    *("lamb", "lion", "muon", "nadam", "rmsprop", "sgd"),
)
ACTIVATIONS = (
    *("celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear", "log_sigmoid"),
    *("mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "swish"),
    *("tanh", "tanh_shrink"),
)


_MAX_PROBLEMS = 20


class ConfigError(ValueError):
    """A mistake of the user's: what was given, what is allowed, what to do. Exit code 2.

    Attributes:
      problems: one line for each mistake found; line ends and the like in what was given are escaped. Of very many,
        such as a cluster of thousands may have, the first, and how many more there are.
    """

    def __init__(self, *problems: str):
        more = len(problems) - _MAX_PROBLEMS
        shown = (*problems[:_MAX_PROBLEMS], f"... and {more} more mistakes.") if more > 1 else problems
        self.problems = tuple(map(one_line, shown))
        super().__init__("\n".join(self.problems))


def one_line(text: str) -> str:
    """Returns `text` on one line, what cannot be printed as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class JsonObject(str):
    """A JSON object as its text."""

    @property
    def tree(self) -> dict[str, Any]:
        """The object."""
        return json.loads(self)


NO_KWARGS = JsonObject("{}")


def field(
    default: Any,
    help: str,
    *,
    unit: str = "",
    source: str = "",
    choices: tuple[str, ...] = (),
    own: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str = "",
    words: str = "",
    stored: bool = True,
) -> Any:
    """Returns a dataclass field that `settings.Setting` reads.

    Args:
      own: what a user's module:name may stand for in place of one of the choices, such as "function".
      pattern: regular expression of a whole text; `words` says what it allows.
      stored: False keeps it out of config.json: it says where a run is, not what it is.
    """
    limits = dict(choices=choices, own=own, minimum=minimum, maximum=maximum, pattern=pattern, words=words)
    metadata = dict(help=help, unit=unit, source=source, stored=stored, **limits)
    return dataclasses.field(default=default, metadata=types.MappingProxyType(metadata))


def _section(branch, help):
    """Returns a field of Config. What --help says of it is no docstring: python -OO drops those."""
    return dataclasses.field(default=branch(), metadata=types.MappingProxyType(dict(help=help)))


_ROUNDS = "Daley & Amato 2021, arXiv:2111.01264"
_MNIH = "Mnih et al. 2015, doi:10.1038/nature14236"
_SCHAUL = "Schaul et al. 2016, arXiv:1511.05952"


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """See Config.run."""

    env: str = field(
        "CartPole-v1",
        "Gymnasium environment with discrete actions: EnvId, or module:EnvId or module:function for your own",
        source="gymnasium.farama.org",
    )
    env_kwargs: JsonObject = field(
        NO_KWARGS,
        'keyword arguments that --env is made with, such as {"map_name": "8x8"}',
        unit="JSON object",
        source="gymnasium.farama.org",
    )
    wrapper: tuple[str, ...] = field(
        (),
        "Gymnasium wrapper around every environment; give it again for another one around that",
        unit="module:Class",
        own="Class",
        source="gymnasium.farama.org/api/wrappers",
    )
    preset: str = field(
        "auto",
        "named settings; auto takes those tuned for --env, which give way to what contradicts them",
        source="docs/learning.md",
    )
    seed: int = field(
        0,
        "seed of weights, environments, exploration and replay",
        minimum=0,
        maximum=2**31 - 1,
        source="docs/design.md",
    )
    config: str = field(
        "",
        "read settings from this config.json; flags win over it",
        unit="path",
        stored=False,
        source="docs/results.md",
    )
    logdir: str = field(
        "",
        "where the run is written; empty: where the platform keeps checkpoints, else runs/<env>/<time>-<digits>",
        unit="path, on a disk all workers see, or gs://BUCKET/path",
        stored=False,
        source="docs/results.md",
    )
    model_dir: str = field(
        "",
        "where the trained model is written too; empty: where the platform takes it, if there is one",
        unit="path or gs://BUCKET/path",
        stored=False,
        source="docs/clouds/README.md",
    )
    tensorboard_dir: str = field(
        "",
        "where TensorBoard's files are written too; empty: where the platform takes them, if there is one",
        unit="path or gs://BUCKET/path",
        stored=False,
        source="docs/clouds/README.md",
    )
    resume: str = field(
        "auto",
        "resume from the last checkpoint in --logdir: auto if there is one, never (refuse a used --logdir), "
        "must (refuse an empty one)",
        choices=("auto", "never", "must"),
        stored=False,
        source="docs/reliability.md",
    )


@dataclasses.dataclass(frozen=True)
class Cluster:
    """See Config.cluster."""

    strategy: str = field(
        "default",
        "tf.distribute strategy: default (one device), mirrored (GPUs of one machine), multiworker (several processes)",
        choices=("default", "mirrored", "multiworker"),
        source="tensorflow.org/guide/distributed_training",
    )
    num_workers: int = field(
        2,
        "processes of the local cluster that multiworker starts if no cluster is given",
        minimum=1,
        maximum=512,
        unit="processes",
        source="docs/design.md",
    )
    num_replicas: int = field(
        0,
        "replicas of mirrored: 0 takes all GPUs, or 2 logical CPUs if there is none",
        minimum=0,
        maximum=64,
        unit="replicas",
        source="docs/design.md",
    )
    tf_config: str = field(
        "",
        "cluster file for multiworker, see tf_config/README.md",
        unit="path",
        stored=False,
        source="tf_config/README.md",
    )
    task_type: str = field(
        "",
        "this process in the cluster of --tf_config: chief or worker; evaluator, with or without a cluster, evaluates "
        "the checkpoints in --logdir while others train, and ends with them",
        choices=("", "chief", "worker", "evaluator"),
        stored=False,
        source="tf_config/README.md",
    )
    task_index: int | None = field(
        None, "this process's index among its --task_type", minimum=0, stored=False, source="tf_config/README.md"
    )
    evaluated_by: str = field(
        "auto",
        "who chooses the best model: the chief, or an evaluator task; auto: the latter if the cluster names one",
        choices=("auto", "chief", "evaluator"),
        stored=False,
        source="docs/clouds/README.md",
    )
    cluster_timeout: int = field(
        600,
        "a worker whose peers are not all there by then leaves with exit code 143",
        unit="s",
        minimum=1,
        source="docs/reliability.md",
    )
    round_timeout: int = field(
        1_800,
        "a process in which no round, evaluation or checkpoint ends for so long leaves with exit code 143; 0: never",
        unit="s",
        minimum=0,
        source="docs/reliability.md",
    )
    max_restarts: int = field(
        3,
        "restarts of the local cluster after lost workers, without a new checkpoint in between",
        minimum=0,
        unit="restarts",
        source="docs/reliability.md",
    )


@dataclasses.dataclass(frozen=True)
class Training:
    """See Config.training."""

    train_env_steps: int = field(
        50_000,
        "length of the run; it ends with the round that reaches this",
        unit="env steps",
        minimum=1,
        source="docs/learning.md",
    )
    num_envs: int = field(
        16, "environments acted in at once, over all workers", minimum=1, unit="environments", source="docs/learning.md"
    )
    round_env_steps: int = field(
        80,
        "env steps between two copies of the weights for acting",
        unit="env steps",
        minimum=1,
        source=_ROUNDS,
    )
    replay_ratio: float = field(
        0.5,
        "updates for each env step",
        unit="updates per env step",
        minimum=0,
        maximum=1000,
        source="docs/learning.md",
    )
    batch_size: int = field(
        64, "transitions in an update, over all replicas", unit="transitions", minimum=1, source="docs/learning.md"
    )
    replay_capacity: int = field(
        50_000, "transitions kept, over all workers", unit="transitions", minimum=1, source=_MNIH
    )
    learning_starts: int = field(
        1_000, "random env steps before the first update", unit="env steps", minimum=1, source="docs/learning.md"
    )
    overlap: bool = field(True, "act and learn at the same time; false gives the same weights, later", source=_ROUNDS)
    vectorization: str = field(
        "sync",
        "sync steps the environments in turn, async in a process each",
        choices=("sync", "async"),
        source="gymnasium.farama.org",
    )

    @property
    def updates_per_round(self) -> int:
        """Number of updates in a round."""
        return round(self.replay_ratio * self.round_env_steps)


@dataclasses.dataclass(frozen=True)
class ReplaySettings:
    """See Config.replay."""

    replay: str = field(
        "uniform",
        "uniform draws all transitions equally often; prioritized draws in proportion to how wrong they were",
        choices=("uniform", "prioritized"),
        source=_SCHAUL,
    )
    priority_exponent: float = field(
        0.5,
        "alpha of prioritized: 0 draws uniformly, 1 in proportion to the priorities",
        minimum=0,
        maximum=1,
        unit="exponent",
        source=_SCHAUL,
    )
    importance_exponent: float = field(
        0.4,
        "beta of prioritized at the start: how much importance weights make up for what is drawn more often; 1: all",
        minimum=0,
        maximum=1,
        unit="exponent",
        source=_SCHAUL,
    )
    importance_exponent_final: float = field(
        1.0,
        "beta at the end of --train_env_steps; linear in between",
        minimum=0,
        maximum=1,
        unit="exponent",
        source=_SCHAUL,
    )


def is_atari(env_id: str) -> bool:
    """Returns whether `env_id` names a game of ALE, as ALE/Pong-v5 and ale_py:ALE/Pong-v5 do."""
    return env_id.removeprefix("ale_py:").startswith("ALE/")


def is_minatar(env_id: str) -> bool:
    """Returns whether `env_id` names a game of MinAtar, as MinAtar/Breakout-v0 does."""
    return env_id.startswith("MinAtar/")


@dataclasses.dataclass(frozen=True)
class Atari:
    """See Config.atari."""

    atari_protocol: str = field(
        "auto",
        "auto is machado: sticky actions (0.25), no life signal. nature: no sticky actions, up to 30 no-ops at the "
        "start, FIRE if a game waits for it, and a lost life ends an episode for learning only",
        choices=("auto", "machado", "nature"),
        source="Machado et al. 2018, arXiv:1709.06009; " + _MNIH,
    )
    atari_actions: str = field(
        "auto",
        "auto is minimal: the actions that do something in the game; full: all 18",
        choices=("auto", "minimal", "full"),
        source="Machado et al. 2018, arXiv:1709.06009",
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """See Config.network."""

    network: str = field(
        "auto",
        "auto takes nature_cnn for images of at least 36 x 36 and mlp for the rest; module:function takes your own, "
        "a function of (observation shape, number of actions, settings) that returns a Keras model",
        choices=("auto", "mlp", "nature_cnn", "impala_cnn", "minatar_cnn"),
        own="function",
        source=_MNIH + "; arXiv:1802.01561; arXiv:1903.03176; docs/algorithms.md",
    )
    hidden_units: tuple[int, ...] = field(
        (128, 128),
        "units of each dense layer of mlp; other networks have their own",
        unit="units, comma separated",
        minimum=1,
        source="docs/learning.md",
    )
    activation: str = field(
        "relu", "activation of hidden layers, a Keras name", choices=ACTIVATIONS, source="keras.io/api"
    )
    width: int = field(
        1, "factor of the channels of impala_cnn", unit="factor", minimum=1, maximum=16, source="arXiv:2411.03820"
    )
    pooling: int = field(
        0,
        "impala_cnn: adaptive max pooling of what its convolutions make to so many rows and columns; 0: none",
        unit="rows",
        minimum=0,
        source="arXiv:2411.03820",
    )
    spectral_norm: bool = field(
        False, "spectral normalization of impala_cnn's residual blocks", source="arXiv:1802.05957; arXiv:2411.03820"
    )
    normalization: str = field(
        "none",
        "layer: layer normalization after each hidden layer",
        choices=("none", "layer"),
        source="Ba et al. 2016, arXiv:1607.06450; arXiv:2407.04811",
    )
    normalize_observations: bool = field(
        False,
        "normalize observations by their running mean and variance over all workers, for observations that are no "
        "images",
        source="docs/algorithms.md",
    )
    head: str = field(
        "expected",
        "what is learned of the return: its expectation, a distribution over fixed values (C51), fixed quantiles "
        "(QR-DQN), or quantiles at random fractions (IQN)",
        choices=("expected", "categorical", "quantile", "implicit_quantile"),
        source="arXiv:1707.06887; arXiv:1710.10044; arXiv:1806.06923",
    )
    dueling: bool = field(
        False, "a stream for the state's value and one for the advantages", source="Wang et al. 2016, arXiv:1511.06581"
    )
    noisy: bool = field(
        False,
        "noisy layers after the torso, which explore; evaluation has no noise. Random actions by epsilon come on top",
        source="Fortunato et al. 2018, arXiv:1706.10295",
    )
    noisy_sigma: float = field(
        0.5, "initial noise of a noisy layer", unit="1 / sqrt(fan in)", minimum=0, source="arXiv:1706.10295"
    )
    num_atoms: int = field(
        51, "values of categorical's distribution", unit="atoms", minimum=2, maximum=1001, source="arXiv:1707.06887"
    )
    v_min: float = field(-10.0, "smallest value of categorical", unit="return", source="arXiv:1707.06887")
    v_max: float = field(10.0, "largest value of categorical", unit="return", source="arXiv:1707.06887")
    num_quantiles: int = field(
        200, "quantiles of quantile", unit="quantiles", minimum=1, maximum=1000, source="arXiv:1710.10044"
    )
    num_tau_samples: int = field(
        64,
        "random fractions of implicit_quantile in an update, of the online and of the target network",
        unit="samples",
        minimum=1,
        maximum=1000,
        source="arXiv:1806.06923",
    )
    num_policy_tau_samples: int = field(
        32,
        "fractions, evenly spaced, of implicit_quantile for acting",
        unit="samples",
        minimum=1,
        maximum=1000,
        source="arXiv:1806.06923",
    )
    num_critics: int = field(
        1,
        "Maxmin Q-learning: so many networks, whose least values are used",
        unit="networks",
        minimum=1,
        maximum=16,
        source="Lan et al. 2020, arXiv:2002.06487",
    )


@dataclasses.dataclass(frozen=True)
class Learning:
    """See Config.learning."""

    optimizer: str = field(
        "adam",
        "Keras optimizer; centered_rmsprop: RMSprop as Mnih et al. 2015 have it, centered, with a decay of 0.95",
        choices=OPTIMIZERS,
        source="Kingma & Ba 2015, arXiv:1412.6980",
    )
    learning_rate: float = field(
        1e-3, "initial learning rate", minimum=0, unit="per update", source="docs/learning.md"
    )
    learning_rate_schedule: str = field(
        "inverse_time",
        "constant; linear or cosine to --learning_rate_final, where it stays; inverse_time: alpha_0 / (1 + t * lambda)",
        choices=("constant", "linear", "cosine", "inverse_time"),
        source="keras.io/api",
    )
    learning_rate_final: float = field(
        0.0,
        "learning rate at the end of a linear or cosine schedule",
        minimum=0,
        unit="per update",
        source="keras.io/api",
    )
    learning_rate_decay_env_steps: int = field(
        0,
        "length of a linear or cosine schedule; 0: the whole run, so a longer run has another schedule",
        unit="env steps",
        minimum=0,
        source="docs/learning.md",
    )
    learning_rate_decay: float = field(
        1e-4, "lambda of inverse_time", unit="per update", minimum=0, source="keras.io/api"
    )
    optimizer_epsilon: float = field(
        1e-7,
        "added to the root of the second moment by adam and its kin",
        minimum=0,
        unit="size of a gradient",
        source="Kingma & Ba 2015, arXiv:1412.6980",
    )
    discount: float = field(0.99, "gamma", minimum=0, maximum=1, source=_MNIH, unit="per env step")
    n_step: int = field(
        3, "rewards summed before bootstrapping", unit="env steps", minimum=1, source="Sutton 1988; arXiv:1710.02298"
    )
    reward_clip: float = field(
        0.0,
        "learn from rewards clipped to [-value, value]; reported returns stay raw; 0: off",
        minimum=0,
        unit="reward",
        source=_MNIH,
    )
    double_q: bool = field(True, "the online network selects, the target evaluates", source="arXiv:1509.06461")
    munchausen: bool = field(
        False,
        "Munchausen: the reward gains the policy's log-probability, and targets are soft; --double_q has no effect",
        source="Vieillard et al. 2020, arXiv:2007.14430",
    )
    munchausen_alpha: float = field(
        0.9, "weight of the log-probability", unit="factor", minimum=0, maximum=1, source="arXiv:2007.14430"
    )
    munchausen_tau: float = field(
        0.03, "temperature of its policy", unit="return", minimum=1e-6, source="arXiv:2007.14430"
    )
    munchausen_clip: float = field(
        -1.0,
        "least log-probability times tau",
        unit="return",
        minimum=-1e6,
        maximum=0,
        source="arXiv:2007.14430",
    )
    loss: str = field(
        "huber",
        "loss of the temporal-difference error; module:function takes your own",
        choices=("huber", "squared"),
        own="function",
        source=_MNIH + "; docs/library.md",
    )
    huber_kappa: float = field(
        1.0,
        "quantile heads: errors beyond it count by their size, smaller ones by their square; 0: all by their size",
        unit="return",
        minimum=0,
        source="arXiv:1710.10044",
    )
    clip_norm: float = field(
        10.0,
        "global gradient norm to clip at, after the sum over replicas; 0: off",
        minimum=0,
        source="arXiv:1511.06581",
        unit="norm of the loss's gradient",
    )
    target_update_period: int = field(
        0,
        "copy the online network to the target this often; 0: Polyak averaging",
        unit="updates",
        minimum=0,
        source=_MNIH,
    )
    target_update_rate: float = field(
        0.005,
        "Polyak averaging in each update: target += rate * (online - target)",
        minimum=0,
        maximum=1,
        source="Lillicrap et al. 2016, arXiv:1509.02971",
        unit="per update",
    )


@dataclasses.dataclass(frozen=True)
class Exploration:
    """See Config.exploration."""

    exploration: str = field(
        "linear_epsilon",
        "linear_epsilon: random actions, fewer and fewer; ape_x: epsilons that stay, another for each environment; "
        "boltzmann: actions by the softmax of their values, and by epsilon",
        choices=("linear_epsilon", "ape_x", "boltzmann"),
        source=_MNIH + "; Horgan et al. 2018, arXiv:1803.00933",
    )
    ape_x_epsilon: float = field(
        0.4,
        "ape_x: environment i of N explores with epsilon^(1 + i / (N - 1) * alpha)",
        unit="probability",
        minimum=0,
        maximum=1,
        source="arXiv:1803.00933",
    )
    ape_x_alpha: float = field(7.0, "ape_x: see --ape_x_epsilon", unit="exponent", minimum=0, source="arXiv:1803.00933")
    temperature: float = field(
        1.0, "boltzmann: values are divided by it", unit="return", minimum=1e-6, source="Sutton & Barto 2018, 2.8"
    )
    epsilon_initial: float = field(
        1.0, "exploration at the start", unit="probability", minimum=0, maximum=1, source=_MNIH
    )
    epsilon_final: float = field(
        0.05, "exploration after the decay", unit="probability", minimum=0, maximum=1, source="docs/learning.md"
    )
    epsilon_decay_env_steps: int = field(
        10_000, "length of the linear decay", unit="env steps", minimum=0, source="docs/learning.md"
    )


@dataclasses.dataclass(frozen=True)
class Communication:
    """See Config.communication."""

    wire_precision: str = field(
        "float32",
        "gradients between workers: float32 is exact; bfloat16 halves the traffic and keeps 8 bits of each",
        choices=("float32", "bfloat16"),
        source="docs/scaling.md",
    )
    average_period: int = field(
        0,
        "0: workers sum their gradients in every update. Else another algorithm: each worker learns on its own from "
        "its part of the batch, and their weights are averaged this often",
        minimum=0,
        unit="updates",
        source="Stich 2019, arXiv:1805.09767; docs/scaling.md",
    )


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """See Config.evaluation."""

    eval_period: int = field(
        5_000, "between greedy evaluations; 0: only at the end", unit="env steps", minimum=0, source="docs/results.md"
    )
    eval_episodes: int = field(
        20, "episodes of an evaluation during the run", unit="episodes", minimum=1, source="docs/results.md"
    )
    final_eval_episodes: int = field(
        100,
        "fresh episodes of the best model for the figures reported",
        unit="episodes",
        minimum=1,
        source="docs/results.md",
    )
    stop_at_return: float | None = field(
        None,
        "the run ends when an evaluation during it has this mean; empty: never",
        unit="return",
        source="docs/learning.md",
    )
    eval_max_episode_steps: int = field(
        0,
        "longer evaluation episodes are cut; 0: the environment's own limit or, if it has none, as few that "
        "evaluation plays no more than the training, at most 10,000",
        unit="env steps",
        minimum=0,
        source="docs/results.md",
    )
    eval_epsilon: float = field(
        0.0,
        "exploration in evaluation episodes: a greedy policy can be stuck for ever",
        unit="probability",
        minimum=0,
        maximum=1,
        source=_MNIH,
    )
    checkpoint_period: int = field(
        20_000,
        "between checkpoints, which change nothing; 0: only at the end",
        unit="env steps",
        minimum=0,
        source="docs/reliability.md",
    )
    checkpoints_to_keep: int = field(
        3,
        "newest checkpoints that are kept, beside the best by evaluation",
        unit="checkpoints",
        minimum=1,
        source="docs/reliability.md",
    )
    log_period: int = field(1_000, "between rows of metrics", unit="env steps", minimum=1, source="docs/results.md")


@dataclasses.dataclass(frozen=True)
class Hardware:
    """See Config.hardware."""

    jit_compile: str = field(
        "auto",
        "compile the update with XLA; auto: small networks without random numbers on a CPU, all on a GPU",
        choices=("auto", "true", "false"),
        source="docs/gpu.md",
    )
    replay_device: str = field(
        "auto",
        "where the images of the replay are: host, or the memory of the gpu that learns; auto: the GPU's if they fit",
        choices=("auto", "host", "gpu"),
        source="docs/gpu.md",
    )
    precision: str = field(
        "auto",
        "arithmetic of the network; weights stay float32; auto: tf32 on a GPU that has it, else float32",
        choices=("auto", "float32", "tf32", "bfloat16"),
        source="docs/gpu.md",
    )
    deterministic: bool = field(
        False, "a GPU repeats itself to the bit, more slowly; a CPU does without it", source="docs/gpu.md"
    )
    learner_threads: int = field(
        0,
        "threads that share one TensorFlow operation; 0: chosen from network and cores, with the reason in the log",
        minimum=0,
        maximum=1024,
        unit="threads",
        source="docs/design.md",
    )
    actor_threads: int = field(
        0,
        "threads that step Atari games; 0: half of the cores that the learner has",
        minimum=0,
        maximum=1024,
        unit="threads",
        source="docs/design.md",
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run depends on. Together with the code it decides every bit of the result on CPU."""

    run: RunSettings = _section(RunSettings, "What is trained and where it is kept.")
    cluster: Cluster = _section(Cluster, "Where it runs. The strategy changes the speed, never the algorithm.")
    training: Training = _section(Training, "How a run goes: rounds of acting and learning at the same time.")
    replay: ReplaySettings = _section(ReplaySettings, "Which transitions are learned from.")
    atari: Atari = _section(Atari, "How an Atari game (ALE/<Game>-v5) is played; refused for any other environment.")
    network: Network = _section(Network, "The Q-network.")
    learning: Learning = _section(Learning, "What is learned, and how fast.")
    exploration: Exploration = _section(Exploration, "How the agent explores.")
    communication: Communication = _section(Communication, "What workers send each other in training.")
    evaluation: Evaluation = _section(
        Evaluation, "When a run is evaluated, logged and saved: at the first round end at or after each period."
    )
    hardware: Hardware = _section(Hardware, "How the machine is used.")


def check(config: Config) -> list[str]:
    """Returns one line for each pair of settings that contradict each other."""
    training = config.training
    problems = combinations.check(config)
    problems += _division(
        "round_env_steps", training.round_env_steps, training.num_envs, f"--num_envs={training.num_envs}"
    )
    updates = training.replay_ratio * training.round_env_steps
    whole = round(updates)
    if whole < 1 or abs(updates - whole) > 1e-5 * whole:  # six digits of a ratio are enough
        low = max(1, int(updates)) / training.round_env_steps
        high = (max(1, int(updates)) + 1) / training.round_env_steps
        problems.append(
            f"--replay_ratio={training.replay_ratio:g} makes {updates:g} updates in a round of "
            f"--round_env_steps={training.round_env_steps}, which must be a whole number of at least 1; "
            f"try {low:.6g} or {high:.6g}, or other round_env_steps."
        )
    elif config.communication.average_period and whole % config.communication.average_period:
        period = config.communication.average_period
        divisors = [n for n in range(1, whole + 1) if whole % n == 0]
        nearest = sorted(sorted(divisors, key=lambda n: abs(n - period))[:2])
        problems.append(
            f"--average_period={period} must divide the {whole} updates in a round; "
            f"try {' or '.join(map(str, nearest))}."
        )
    if config.communication.average_period and config.communication.wire_precision != "float32":
        problems.append(
            f"--average_period={config.communication.average_period} sends weights, which "
            f"--wire_precision={config.communication.wire_precision} would spoil; leave one of them out."
        )
    first = training.num_envs * config.learning.n_step
    if training.learning_starts < first:
        problems.append(
            f"--learning_starts={training.learning_starts} must be at least {first} "
            f"(--num_envs={training.num_envs} x --n_step={config.learning.n_step}), so that there is a transition to "
            "learn from."
        )
    begin = -(-training.learning_starts // training.round_env_steps) * training.round_env_steps
    if begin >= training.train_env_steps:
        problems.append(
            f"--learning_starts={training.learning_starts} lets learning begin at env step {begin}; that must be below "
            f"--train_env_steps={training.train_env_steps}, else nothing is learned."
        )
    if training.replay_capacity < training.round_env_steps:
        problems.append(
            f"--replay_capacity={training.replay_capacity} must hold at least a round of "
            f"--round_env_steps={training.round_env_steps}."
        )
    return problems


def check_division(config: Config, num_workers: int, replicas_per_worker: int) -> list[str]:
    """Returns one line for each number that does not divide among the workers and their replicas."""
    training, replicas = config.training, num_workers * replicas_per_worker
    among = f"the {replicas} replicas in sync ({num_workers} workers x {replicas_per_worker} replicas)"
    problems = _division("batch_size", training.batch_size, replicas, among)
    if config.communication.average_period and replicas_per_worker > 1:
        problems.append(
            f"--average_period={config.communication.average_period} needs one replica on each worker, not "
            f"{replicas_per_worker}; use --strategy=multiworker with as many workers."
        )
    for name in ("num_envs", "replay_capacity"):
        problems += _division(name, getattr(training, name), num_workers, f"the {num_workers} workers")
    return problems


def _division(name, value, divisor, among):
    if value % divisor == 0:
        return []
    low = value // divisor * divisor
    nearest = f"{low} or {low + divisor}" if low else f"{low + divisor}"
    return [f"--{name}={value} must be divisible by {among}; try {nearest}."]
