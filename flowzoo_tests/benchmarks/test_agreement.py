"""The same weights in other libraries give the same numbers; each test needs that library."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo import transforms as T
from flowzoo_tests.perturb import perturbed

DIM = 3
X = np.random.default_rng(0).normal(size=(20, DIM))


def layer(make, scale=0.4, **options):
    found = perturbed(make(DIM, rngs=nnx.Rngs(0), **options), scale)
    return jax.tree.map(lambda a: a.astype(float) if a.dtype == jnp.float32 else a, found)


def torch_of(torch, a):
    return torch.tensor(np.array(a, np.float64))


def agree(found, z, log_det):
    np.testing.assert_allclose(found[0], z, atol=1e-5)
    np.testing.assert_allclose(found[1], log_det, atol=1e-5)


def test_planar_and_normflows(x64):
    torch, normflows = pytest.importorskip("torch"), pytest.importorskip("normflows")
    ours = layer(T.Planar)
    w, u, product, offset = ours._parameters(None)
    # Their u is before its bound, which is another one.
    raw = np.log(np.expm1(product + 1)) * w / (w @ w) + (u - product * w / (w @ w))
    parts = (torch_of(torch, a)[None] for a in (raw, w, offset))
    theirs = normflows.flows.Planar((DIM,), u=next(parts), w=next(parts), b=next(parts))
    z, log_det = theirs(torch_of(torch, X))
    agree(ours.forward_and_log_det(X), z.detach(), log_det.detach())


def test_radial_and_normflows(x64):
    torch, normflows = pytest.importorskip("torch"), pytest.importorskip("normflows")
    ours = layer(T.RadialFlow)
    center, alpha, beta = ours._parameters(None)
    theirs = normflows.flows.Radial((DIM,), z_0=torch_of(torch, center)[None]).double()
    theirs.alpha.data[:] = float(alpha)
    theirs.beta.data[:] = float(np.log(np.expm1(alpha + beta)))
    z, log_det = theirs(torch_of(torch, X))
    agree(ours.forward_and_log_det(X), z.detach(), log_det.detach())


def test_residual_block_and_normflows(x64):
    """Their series of 400 traces against a determinant."""
    torch, normflows = pytest.importorskip("torch"), pytest.importorskip("normflows")
    ours = layer(T.ResidualBlock, hidden_sizes=(5,))
    weights, biases = ours._arrays()

    class Network(torch.nn.Module):
        def forward(self, x):
            h = x
            for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                h = h * torch.sigmoid(h) / 1.1 if i else h
                h = h @ torch_of(torch, weight).T + torch_of(torch, bias)
            return h

    theirs = normflows.flows.residual.iResBlock(Network(), exact_trace=True, n_power_series=400)
    z, log_det = theirs.eval().forward(torch_of(torch, X).requires_grad_(), 0)
    agree(ours.forward_and_log_det(X), z.detach(), -log_det.detach().reshape(-1))


def test_block_autoregressive_and_flowjax(x64):
    flowjax = pytest.importorskip("flowjax.bijections")
    eqx = pytest.importorskip("equinox")
    ours = layer(T.BlockAutoregressive, hidden_units=(2, 2))
    ours.gate[...] = jnp.full(DIM, -50.0)  # They have no gate.
    theirs = flowjax.BlockAutoregressiveNetwork(
        jax.random.key(0), dim=DIM, depth=2, block_dim=2, activation=flowjax.Tanh(())
    )
    layers = []
    for block, (_, log_jacobian) in zip(ours.layers, theirs.layers, strict=True):
        before, own = block._scaled()
        places = np.arange(DIM)
        weight = before.at[places, :, places, :].set(own)
        linear = eqx.nn.Linear(DIM * block.before, DIM * block.size, key=jax.random.key(0))
        shape = linear.weight.shape
        arrays = weight.reshape(shape), block.bias[...].reshape(-1)
        linear = eqx.tree_at(lambda m: (m.weight, m.bias), linear, arrays)
        layers.append((linear, log_jacobian))
    theirs = eqx.tree_at(lambda m: m.layers, theirs, layers)
    agree(ours.forward_and_log_det(X), *jax.vmap(theirs.transform_and_log_det)(jnp.asarray(X)))


def test_continuous_flow_and_zuko(x64):
    pytest.importorskip("diffrax")
    torch, zuko = pytest.importorskip("torch"), pytest.importorskip("zuko")
    ours = layer(T.ContinuousFlow, hidden_sizes=(5, 4), tolerance=1e-9)
    parts = ours.net.weights, ours.net.biases
    parts = [[torch_of(torch, a[...]) for a in part] for part in parts]
    out, shift = (torch_of(torch, a[...]) for a in (ours.net.output_weight, ours.net.output_bias))

    def velocity(t, x):
        h = torch.cat([x, t.to(x).expand(x.shape[:-1])[..., None]], -1)
        for weight, bias in zip(*parts, strict=True):
            h = torch.tanh(h @ weight + bias)
        return h @ out.T + shift

    theirs = zuko.transforms.FreeFormJacobianTransform(velocity, 0.0, 1.0, atol=1e-9, rtol=1e-9)
    z, log_det = theirs.call_and_ladj(torch_of(torch, X))
    agree(ours.forward_and_log_det(X), z.detach(), log_det.detach())
