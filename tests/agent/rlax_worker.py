"""Losses as rlax computes them, and their gradients; a process without TensorFlow, which rlax's packages ask for.

    python -m tests.agent.rlax_worker OUT

writes OUT, an .npz of arrays by "case/name": what went in, the loss [B] and the gradient of its sum.
"""

import sys

import numpy as np

B, A, Z, N = 16, 5, 11, 7  # transitions, actions, atoms, quantiles
V_MIN, V_MAX = -3.0, 4.0
NUM_SEEDS = 10


def inputs(seed):
    """Returns random inputs of all losses, by name; some returns lie beyond the atoms, some errors beyond kappa."""
    generator = np.random.default_rng(seed)

    def normal(*shape, scale=2.0):
        return generator.normal(0, scale, shape).astype(np.float32)

    return {
        "a_tm1": generator.integers(A, size=B, dtype=np.int32),
        "r_t": normal(B),
        "discount_t": generator.choice(np.float32([0, 0.9, 0.97]), size=B),
        "q_tm1": normal(B, A),
        "q_t": normal(B, A),
        "selector": normal(B, A),
        "logits_tm1": normal(B, A, Z),
        "logits_t": normal(B, A, Z),
        "z_tm1": normal(B, A, N),
        "z_t": normal(B, A, N),
        "z_selector": normal(B, A, N),
        "tau": np.sort(generator.random((B, N), np.float32), axis=-1),
    }


def cases():
    """Yields the name of each loss, the name of what it is differentiated by, and the function of that and the rest."""
    import jax.numpy as jnp
    import rlax

    atoms = jnp.linspace(V_MIN, V_MAX, Z)

    def huber(error):
        return rlax.huber_loss(error, 1.0)

    def double_q(q_tm1, g):
        return huber(rlax.double_q_learning(q_tm1, g["a_tm1"], g["r_t"], g["discount_t"], g["q_t"], g["selector"]))

    def q_learning(q_tm1, g):
        return huber(rlax.q_learning(q_tm1, g["a_tm1"], g["r_t"], g["discount_t"], g["q_t"]))

    def categorical(logits, g):
        rest = g["a_tm1"], g["r_t"], g["discount_t"], atoms, g["logits_t"]
        return rlax.categorical_q_learning(atoms, logits, *rest)

    def categorical_double(logits, g):
        rest = g["a_tm1"], g["r_t"], g["discount_t"], atoms, g["logits_t"], g["selector"]
        return rlax.categorical_double_q_learning(atoms, logits, *rest)

    def quantile(kappa, selector):
        def loss(z, g):
            quantiles = (g[name].T for name in (selector, "z_t"))  # rlax has [N, A]
            return rlax.quantile_q_learning(
                z.T, g["tau"], g["a_tm1"], g["r_t"], g["discount_t"], *quantiles, huber_param=kappa
            )

        return loss

    yield "q_learning", "q_tm1", q_learning
    yield "double_q_learning", "q_tm1", double_q
    yield "categorical", "logits_tm1", categorical
    yield "categorical_double", "logits_tm1", categorical_double
    yield "quantile", "z_tm1", quantile(1.0, "z_t")
    yield "quantile_double", "z_tm1", quantile(1.0, "z_selector")
    yield "quantile_kappa_0", "z_tm1", quantile(0.0, "z_t")


def main(path):
    """Writes all cases of all seeds."""
    sys.modules["tensorflow"] = None
    import jax

    found = {}
    for seed in range(NUM_SEEDS):
        given = inputs(seed)
        for name, by, function in cases():
            batched = jax.vmap(lambda x, g, function=function: function(x, g))
            rest = {key: value for key, value in given.items() if key != by}
            loss, gradient = batched(given[by], rest), jax.grad(lambda x: batched(x, rest).sum())(given[by])
            found[f"{name}/{seed}/loss"], found[f"{name}/{seed}/gradient"] = np.asarray(loss), np.asarray(gradient)
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
