"""Continuous flows, and the layers whose log-determinants can be estimated."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import flowzoo
from flowzoo import transforms as T
from flowzoo_tests.perturb import perturbed
from flowzoo_tests.training.small import small_config
from flowzoo_tests.zoo.integral import integral

pytest.importorskip("diffrax")
LAYERS = {
    "continuous": lambda rngs, size=0: T.ContinuousFlow(
        3, hidden_sizes=(5,), tolerance=1e-4, context_size=size, rngs=rngs
    ),
    "residual": lambda rngs, size=0: T.ResidualBlock(
        3, hidden_sizes=(5,), context_size=size, rngs=rngs
    ),
}


def double(module):
    return jax.tree.map(lambda a: a.astype(float) if a.dtype == jnp.float32 else a, module)


def log_dets(layer, x):
    return layer.forward_and_log_det(x)[1]


@jax.jit
def gradients(layer, x):
    gradient = nnx.grad(lambda layer, x: log_dets(layer, x).sum(), argnums=(0, 1))(layer, x)
    return [gradient[1], *jax.tree.leaves(nnx.state(gradient[0], nnx.Param))]


# The gradients of a continuous flow are those of its estimate, and nothing of their own.
@pytest.mark.parametrize(
    ("name", "value"), [("continuous", log_dets), ("residual", log_dets), ("residual", gradients)]
)
def test_the_estimates_are_unbiased(name, value, x64):
    layer = double(perturbed(LAYERS[name](nnx.Rngs(0)), 0.5))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))

    @jax.jit
    def estimates(keys):
        return jax.vmap(lambda key: value(T.with_log_det_estimates(layer, key), x))(keys)

    found = estimates(jax.random.split(jax.random.key(0), 1000))
    exact = jax.jit(value)(layer, x)
    for one, many in zip(*map(jax.tree.leaves, (exact, found)), strict=True):
        error = many.std(0) / 1000**0.5
        assert bool(jnp.all(jnp.abs(many.mean(0) - one) < 4 * error + 1e-6))
    assert float(jax.tree.leaves(found)[0].std(0).min()) > 0.01


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_the_spectral_norm_and_its_gradient(shape, x64):
    from flowzoo.transforms.residual.contraction import spectral_norm

    w = np.random.default_rng(0).normal(size=shape)
    u, s, v = np.linalg.svd(w)
    norm, gradient = jax.value_and_grad(spectral_norm)(jnp.asarray(w))
    np.testing.assert_allclose(norm, s[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], v[0]), atol=1e-12)
    assert bool(jnp.isfinite(jax.grad(spectral_norm)(jnp.zeros(shape))).all())


def test_layers_of_a_stack_draw_their_own_noise():
    block = LAYERS["residual"](nnx.Rngs(0))
    flow = T.with_log_det_estimates(T.Chain([block, T.Stack([block, block])]), jax.random.key(0))
    keys = [flow.transforms[0].noise_key[...], *flow.transforms[1].layers.noise_key[...]]
    assert len({tuple(np.asarray(key)) for key in keys}) == 3
    log_det = jax.jit(flow.forward_and_log_det)(jnp.ones((4, 3)))[1]
    assert bool(jnp.isfinite(log_det).all())


@pytest.mark.parametrize("sizes", [(5,), (5, 4), (5, 4, 3)])
def test_a_continuous_flow_agrees_with_scipy(sizes, x64):
    layer = double(perturbed(T.ContinuousFlow(3, hidden_sizes=sizes, rngs=nnx.Rngs(0)), 0.5))
    layer.tolerance = 1e-11
    jacobian = jax.jit(jax.jacfwd(layer.velocity, argnums=1))
    velocity = jax.jit(layer.velocity)
    x = np.random.default_rng(0).normal(size=3)

    def field(t, y):
        at = jnp.asarray(y[:3])
        return [*np.asarray(velocity(t, at)), np.trace(jacobian(t, at))]

    expected = scipy.integrate.solve_ivp(field, (0, 1), [*x, 0.0], rtol=1e-10, atol=1e-10).y[:, -1]
    z, log_det = jax.jit(layer.forward_and_log_det)(jnp.asarray(x))
    np.testing.assert_allclose([*z, log_det], expected, atol=1e-8)


@pytest.mark.parametrize("sizes", [(5,), (5, 4, 3)])
def test_both_gradients_of_a_continuous_flow_agree(sizes, x64):
    layer = double(perturbed(T.ContinuousFlow(3, hidden_sizes=sizes, rngs=nnx.Rngs(0)), 0.5))
    layer.tolerance = 1e-9
    other = nnx.clone(layer)
    other.gradient = "adjoint"
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))
    for a, b in zip(gradients(layer, x), gradients(other, x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("sizes", [(5,), (5, 4)])
def test_the_divergence_of_a_network(sizes, x64):
    from flowzoo.nets.mlp import MLP

    options = dict(hidden_sizes=sizes, activation="tanh", context_size=2, rngs=nnx.Rngs(0))
    net = double(perturbed(MLP(4, 3, **options), 0.5))
    x, context = np.split(np.random.default_rng(0).normal(size=(7, 6)), [4], axis=1)
    y, divergence = net.value_and_divergence(x, net.divergence_weight(), context)
    np.testing.assert_allclose(y, net(x, context), rtol=1e-12)
    jacobian = jax.vmap(jax.jacfwd(net))(x, context)
    np.testing.assert_allclose(divergence, jnp.einsum("nii->n", jacobian[..., :3]), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        dict(hidden_sizes=(5, 4, 3)),
        dict(activation="relu"),
        dict(hidden_sizes=(5, 5), residual=True),
    ],
)
def test_a_network_whose_divergence_is_no_quadratic_form_says_so(options):
    from flowzoo.nets.mlp import MLP

    options = dict(hidden_sizes=(5,), activation="tanh", rngs=nnx.Rngs(0)) | options
    assert MLP(3, 3, **options).divergence_weight() is None


def test_each_event_takes_its_own_steps(x64):
    """Also in the gradient, which takes the steps of all events at once."""
    layer = double(perturbed(T.ContinuousFlow(3, hidden_sizes=(5, 4), rngs=nnx.Rngs(0)), 1.0))
    x = np.random.default_rng(0).normal(size=(3, 3)) * np.array([[0.01], [1.0], [30.0]])

    @jax.jit
    def gradient(x):
        return jax.vjp(layer.forward_and_log_det, x)[1]((jnp.ones_like(x), jnp.ones(len(x))))[0]

    alone = jnp.concatenate([gradient(x[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(gradient(x), alone, rtol=1e-9)


def test_the_density_of_a_continuous_flow_integrates_to_one():
    model = {"name": "continuous_flow", "hidden_sizes": (5,), "tolerance": 1e-4}
    flow = perturbed(flowzoo.build(model, (2,), rngs=0), 0.5)
    assert abs(integral(flow, points=101) - 1) < 2e-3


def test_flow_matching_learns_a_density():
    x = np.random.default_rng(0).normal(size=(1000, 2)) @ np.array([[1.0, 0.95], [0.0, 0.3]])
    flow = flowzoo.fit(
        x.astype(np.float32),
        {"name": "continuous_flow", "hidden_sizes": (16,), "tolerance": 1e-3},
        objective="flow_matching",
        num_epochs=40,
        learning_rate=2e-2,
    )
    truth = -1 - np.log(2 * np.pi) - np.log(0.3)
    assert abs(float(flow.log_prob(x[:200]).mean()) - truth) < 0.15


def test_an_objective_that_the_model_has_not_is_refused():
    from flowzoo.training.step import make_loss

    flow = flowzoo.build("gaussian", (2,), rngs=0)
    with pytest.raises(ValueError, match="no log-determinant that can be estimated"):
        make_loss(flow, "relative", objective="estimate")
    with pytest.raises(ValueError, match="ends in a ContinuousFlow"):
        make_loss(flow, "relative", objective="flow_matching")
    with pytest.raises(ValueError, match="config.objective is 'elbo', expected one of likelihood"):
        small_config(objective="elbo")
    for options, message in ((dict(tolerance=0.0), "tolerance 0.0"), (dict(gradient="x"), "'x'")):
        with pytest.raises(ValueError, match=f"got .*{message}"):
            T.ContinuousFlow(2, rngs=nnx.Rngs(0), **options)
