"""Makes reference results of mctx's Gumbel MuZero policy, for a test that compares our search with it.

usage: JAX_PLATFORMS=cpu python gumbel_reference.py OUT.csv [--masked]
Needs `pip install jax mctx`; made with jax 0.10.2 and mctx 0.0.71.

The game is made up from a hash, so that the test can play the same one: 512 states, 6 actions, two players who move in
turn, no reward and no end (see `mix` to `value`). With --masked some of the actions are illegal: mctx counts them as moves
without visits when it scales values, which we do not, so weights then differ a little and only visits are to be compared. Each case is searched in float32 and again in float64 with the same noise,
and is left out if the two differ in a visit count or in the action: those hang on rounding. The rest is written as found in
float64. Columns: the root's state, the simulations, the actions considered at most, the noise of each action (g, float32), the
action chosen, the visits (n) and the weight in the improved policy (w) of each action, and the value of the root.
"""
import csv, sys
from functools import partial
import jax, jax.numpy as jnp, mctx, numpy as np

STATES, ACTIONS = 512, 6
SIMULATIONS, CONSIDERED = (1, 2, 5, 16, 32, 64, 200), (2, 4, 16)
MASKED = "--masked" in sys.argv[2:]
WORD = (1 << 64) - 1


def mix(x):
    z = (x + 0x9E3779B97F4A7C15) & WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
    return z ^ (z >> 31)


def key(state, action, what):
    return mix(state * 64 + action * 8 + what)


def successor(state, action):
    return key(state, action, 0) % STATES


def legal(state):
    return [a for a in range(ACTIONS) if not MASKED or key(state, a, 1) % 4 != 0 or a == state % 6]


def priors(state):
    """Multiples of 1/256, so exact in bfloat16. They sum to 1."""
    moves = legal(state)
    weights = {a: 1 + key(state, a, 2) % 100 for a in moves}
    spare, total = 256 - len(moves), sum(weights.values())
    parts = {a: 1 + spare * weights[a] // total for a in moves}
    parts[moves[0]] += 256 - sum(parts.values())
    return [parts.get(a, 0) / 256 for a in range(ACTIONS)]


def value(state):
    """For the player to move."""
    return (key(state, 0, 3) % 2049 - 1024) / 1024


SUCCESSORS = np.array([[successor(s, a) for a in range(ACTIONS)] for s in range(STATES)], np.int32)
PRIORS = np.array([priors(s) for s in range(STATES)])
VALUES = np.array([value(s) for s in range(STATES)])


def evaluate(states, dtype):
    """Logits and values of `states`; both are exact or correctly rounded."""
    logits = np.where(PRIORS > 0, np.log(np.maximum(PRIORS, 1 / 256)), np.finfo(dtype).min).astype(dtype)
    return jnp.asarray(logits)[states], jnp.asarray(VALUES.astype(dtype))[states]


def root_of(states, dtype):
    logits, values = evaluate(states, dtype)
    return mctx.RootFnOutput(prior_logits=logits, value=values, embedding=states)


def recurrent(dtype, _params, _rng, actions, states):
    states = jnp.asarray(SUCCESSORS)[states, actions]
    logits, values = evaluate(states, dtype)
    zero = jnp.zeros_like(values)
    return mctx.RecurrentFnOutput(reward=zero, discount=zero - 1, prior_logits=logits, value=values), states


@partial(jax.jit, static_argnums=(0, 1))
def original(simulations, considered, states, scale, rng):
    """mctx's policy in float32. Returns its noise as well."""
    out = mctx.gumbel_muzero_policy(
        None, rng, root_of(states, np.float32), partial(recurrent, np.float32), simulations,
        invalid_actions=jnp.asarray(PRIORS == 0)[states], max_num_considered_actions=considered, gumbel_scale=scale)
    summary = out.search_tree.summary()
    return out.search_tree.extra_data.root_gumbel, out.action, summary.visit_counts, out.action_weights, summary.value


@partial(jax.jit, static_argnums=(0, 1, 2))
def with_noise(dtype, simulations, considered, states, noise):
    """The same with this noise, in any precision, put together from mctx's parts."""
    invalid = jnp.asarray(PRIORS == 0)[states]
    root = root_of(states, dtype)
    logits = root.prior_logits - jnp.max(root.prior_logits, axis=-1, keepdims=True)
    logits = jnp.where(invalid, jnp.finfo(dtype).min, logits)
    tree = mctx.search(
        None, jax.random.PRNGKey(0), root=root.replace(prior_logits=logits),
        recurrent_fn=partial(recurrent, dtype), num_simulations=simulations, invalid_actions=invalid,
        root_action_selection_fn=partial(
            mctx.gumbel_muzero_root_action_selection, num_simulations=simulations, max_num_considered_actions=considered),
        interior_action_selection_fn=mctx.gumbel_muzero_interior_action_selection,
        extra_data=mctx.GumbelMuZeroExtraData(root_gumbel=noise.astype(dtype)))
    summary = tree.summary()
    visits, improved = summary.visit_counts, jax.vmap(mctx.qtransform_completed_by_mix_value, (0, None))(tree, 0) + logits
    most = visits == visits.max(axis=-1, keepdims=True)
    action = jnp.argmax(jnp.where(most & ~invalid, noise + improved, -jnp.inf), axis=-1)
    return action, visits, jax.nn.softmax(jnp.where(invalid, jnp.finfo(dtype).min, improved)), summary.value


def search(batch, simulations, considered):
    """Searches from five roots. Returns the rows of the cases to keep, and how many were dropped."""
    # One root for each number of legal actions, if that differs. No state has just one.
    counts = (PRIORS > 0).sum(axis=1)
    groups = [np.flatnonzero(counts == n) if MASKED else np.arange(n, STATES, 5) for n in (2, 3, 4, 5, 6)]
    states = np.array([group[37 * batch % len(group)] for group in groups], np.int32)
    scale = np.array([[(batch + i) % 2] for i in range(len(groups))], np.float32)
    with jax.enable_x64(False):
        noise, *theirs = map(np.asarray, original(simulations, considered, states, scale, jax.random.PRNGKey(batch)))
        single = [np.asarray(x) for x in with_noise(np.float32, simulations, considered, states, noise)]
    assert (noise[scale[:, 0] == 0] == 0).all()
    with jax.enable_x64(True):
        double = [np.asarray(x) for x in with_noise(np.float64, simulations, considered, states, noise)]
    assert noise.dtype == single[2].dtype == np.float32 and double[2].dtype == double[3].dtype == np.float64
    for exact, ours, expected in zip((True, True, False, False), single, theirs):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=0 if exact else 1e-6)
    same = (single[0] == double[0]) & (single[1] == double[1]).all(axis=1)
    rows = []
    for i in np.flatnonzero(same):
        action, visits, weights, root_value = (x[i] for x in double)
        unplayable = PRIORS[states[i]] == 0
        assert visits.sum() == simulations and not visits[unplayable].any() and not weights[unplayable].any()
        # Adding 0 turns -0 into 0.
        shown = [[f"{x:.9g}" for x in np.atleast_1d(xs) + 0.0] for xs in (noise[i], weights, root_value)]
        rows.append([states[i], simulations, considered, *shown[0], action, *visits.astype(int), *shown[1], *shown[2]])
    return rows, len(states) - len(rows)


def main():
    rows, dropped = [], 0
    for batch, (simulations, considered) in enumerate((s, c) for s in SIMULATIONS for c in CONSIDERED):
        kept, near_ties = search(batch, simulations, considered)
        rows += kept
        dropped += near_ties
        print(f"{simulations} simulations, {considered} considered: {len(kept)} kept, {near_ties} dropped", flush=True)
    columns = ["state", "simulations", "considered"]
    columns += [f"g{a}" for a in range(ACTIONS)] + ["action"] + [f"{c}{a}" for c in "nw" for a in range(ACTIONS)] + ["value"]
    with open(sys.argv[1], "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    print(f"{len(rows)} cases kept, {dropped} dropped")


if __name__ == "__main__":
    main()
