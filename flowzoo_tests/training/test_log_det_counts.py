"""Dense layers wherever they may stand: what their log-determinants count, and how they train."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo import bases
from flowzoo import transforms as T
from flowzoo.context import Labels
from flowzoo.flow import Flow
from flowzoo.numerics.named_arrays import to_arrays
from flowzoo.training.config import default_config
from flowzoo.training.log_det_counts import log_det_counts
from flowzoo.training.optimizer import make_optimizer
from flowzoo.training.state import split
from flowzoo.training.step import Batch, make_loss
from flowzoo.transforms.linear.dense import dense_weights
from flowzoo_tests.perturb import perturbed


def dense(rngs):
    return T.Dense(3, rngs=rngs)


def image(rngs):
    """Convolutions of 2 × 2 pixels and three channels, the second of two channels and backwards."""
    inner = T.Inverse(T.Invertible1x1Conv((2, 2, 2), use_bias=True, rngs=rngs))
    return T.Chain(
        [
            T.Reshape((12,), (2, 2, 3)),
            T.Invertible1x1Conv((2, 2, 3), rngs=rngs),
            T.FactorOut((2, 2, 3), T.Chain([inner, T.TanhMix((2, 2, 2))])),
        ]
    )


def stack(rngs):
    return T.Stack([T.Chain([dense(rngs), T.TanhMix((3,))]) for _ in range(3)])


FLOWS = {
    "chain": (lambda r: T.Chain([dense(r), T.TanhMix((3,)), dense(r)]), [1, 1]),
    "inverse": (lambda r: T.Inverse(dense(r)), [-1]),
    "inverse of inverse": (lambda r: T.Inverse(T.Inverse(dense(r))), [1]),
    "inverse of a chain": (
        lambda r: T.Chain(
            [dense(r), T.Inverse(T.Chain([dense(r), T.TanhMix((3,)), T.Inverse(dense(r))]))]
        ),
        [1, -1, 1],
    ),
    "stack": (stack, [1]),
    "inverse of a stack": (lambda r: T.Chain([T.Inverse(stack(r)), dense(r)]), [-1, 1]),
    "image": (image, [4, -4]),
    "inverse of an image": (lambda r: T.Chain([T.Inverse(image(r))]), [-4, 4]),
}


def build(name, dtype=jnp.float64):
    transform = FLOWS[name][0](nnx.Rngs(0))
    if transform.latent_shape != (transform.latent_shape[0],):
        transform = T.Chain([transform, T.Reshape(transform.latent_shape, (12,))])
    base = bases.HyperbolicSecant(transform.latent_shape)
    flow = perturbed(Flow(base, transform))
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), flow)


def gradients(flow, rule):
    variables = split(flow)[1]
    x = np.random.default_rng(0).normal(size=(20, *flow.event_shape))
    batch = Batch(jnp.asarray(x), None)
    gradient = jax.jit(jax.grad(make_loss(flow, rule), has_aux=True))
    return variables.params, gradient(variables.params, variables, batch)[0]


def dot(a, b) -> float:
    return float(sum(np.vdot(p, q) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True)))


@pytest.mark.parametrize("name", FLOWS)
def test_counts_follow_from_the_use(name):
    flow = build(name, jnp.float32)
    counts = log_det_counts(flow)
    assert list(counts) == dense_weights(flow)
    assert list(counts.values()) == FLOWS[name][1]


def test_counts_of_a_conditional_flow_and_of_one_without_dense_layers():
    context = Labels(2)
    layers = [dense(nnx.Rngs(0)), T.ConditionalAffine((3,), context_size=2)]
    flow = Flow(bases.StandardNormal((3,)), T.Chain(layers), context)
    assert log_det_counts(flow) == {"transform/transforms/0/weight": 1.0}
    assert log_det_counts(Flow(bases.StandardNormal((3,)), T.Reverse(3))) == {}


class Forgetful(T.Dense):
    """A layer whose log-determinant is zero, as if W were orthogonal."""

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z, jnp.zeros_like(log_det)


def test_a_layer_whose_log_det_is_not_in_the_likelihood_is_refused():
    flow = Flow(bases.StandardNormal((3,)), T.Chain([Forgetful(3, rngs=nnx.Rngs(0))]))
    with pytest.raises(ValueError, match=r"transforms/0/weight counts \[0.0\] times"):
        log_det_counts(flow)


@pytest.mark.parametrize("name", FLOWS)
def test_the_fused_rule_and_the_optax_path_descend_and_agree(name, x64):
    flow = build(name)
    params, ordinary = gradients(flow, "ordinary")
    fused = gradients(flow, "relative")[1]
    data_terms = gradients(flow, "data_terms")[1]
    config = default_config().optimizer
    config.update(name="sgd", momentum=0.0, learning_rate=1.0)
    counts = log_det_counts(flow)
    optimizer = make_optimizer(config, 1, list(counts), rule="data_terms", log_det_counts=counts)
    steps = optimizer.update(data_terms, optimizer.init(params), params)[0]
    chained = jax.tree.map(jnp.negative, steps)
    for rule in (fused, chained):
        assert dot(rule, ordinary) > 0.1 * optax.global_norm(rule) * optax.global_norm(ordinary)
    fused, chained, ordinary = map(to_arrays, (fused, chained, ordinary))
    backwards = [w for w, count in counts.items() if count < 0]
    for path in fused:
        weight = path.removesuffix("bias") + "weight"
        if path.endswith("bias") and weight in backwards:
            # There the optax transformation has the metric that is the identity for the bias.
            np.testing.assert_allclose(chained[path], ordinary[path], rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_allclose(chained[path], fused[path], rtol=1e-9, atol=1e-12)
