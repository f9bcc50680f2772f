"""Sampling and training a masked autoregressive flow, against other libraries.

    python -m flowzoo.benchmarks.autoregressive_sampling [--dims=63,784] [--libraries=zuko,nflows]

MAF of 5 layers with one hidden layer of 512 ReLU units each, no batch norm, float32, on the CPU:
`--samples` points by the one-pass inverse, by D passes of the same model ("naive"), and by flowjax,
zuko, nflows and normflows, which all make D passes; log_prob and one Adam step of 1,000 points at
the smallest dimension. The networks of nflows and normflows have one more linear map, of 512 × 512:
theirs have no smaller one with a nonlinearity. All in one process, taking turns; a library that
cannot be imported is left out.

Medians in milliseconds on two cores of an AMD EPYC, OMP_WAIT_POLICY=PASSIVE (JAX 0.10.2, PyTorch
2.13.0, flowjax 19.1.2, zuko 1.6.0, nflows 0.14, normflows 1.7.3):

    D = 63                          flowzoo  naive  flowjax   zuko  nflows  normflows
    100 samples                         4.6   65.5     84.4  194.9   368.2      318.5
    log_prob of 1,000 points           16.1            19.4   24.6    67.8       62.4
    training step of 1,000 points      37.7            40.1   46.6   112.7      106.3
    D = 784
    100 samples                       124.0  24470    32115
"""

import functools

from absl import app, flags
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.benchmarks import peers
from flowzoo.transforms import MaskedAutoregressive
from flowzoo.transforms.masked_autoregressive import bounded_log_scale
from flowzoo.zoo.maf import maf

LAYERS = 5
HIDDEN = 512

DIMS = flags.DEFINE_list("dims", ["63", "784"], "Dimensions of the data.")
SAMPLES = flags.DEFINE_integer("samples", 100, "Points drawn in one call.")
BATCH = flags.DEFINE_integer("batch", 1000, "Points in one call of log_prob or training step.")
LIBRARIES = flags.DEFINE_list(
    "libraries", ["flowjax", "zuko", "nflows", "normflows"], "Libraries to compare with."
)
SECONDS = flags.DEFINE_float("max_seconds", 30.0, "Time after which a program is called no more.")


def flowzoo_model(dim: int, *, naive: bool = False) -> peers.JaxModel:
    """This library's MAF, sampled in one pass or in D."""
    flow = maf(
        (dim,), num_layers=LAYERS, hidden_sizes=(HIDDEN,), batch_norm=False, rngs=nnx.Rngs(0)
    )
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)

    def sample(flow, key, n):
        return naive_sample(flow, key, n) if naive else flow.sample(key, (n,))

    return peers.JaxModel(
        parameters,
        lambda parameters: nnx.merge(graph, parameters, rest),
        lambda flow, x: flow.log_prob(x),
        sample,
    )


def naive_sample(flow, key: jax.Array, n: int) -> jax.Array:
    """Draws `[n, D]` by D full passes through the network of each layer."""

    def invert(layer, z):
        def sweep(x, _):
            y = layer.net(x)
            return z * jnp.exp(bounded_log_scale(y[..., 1, :])) + y[..., 0, :], None

        return jax.lax.scan(sweep, jnp.zeros_like(z), length=z.shape[-1])[0]

    z = flow.base.sample(key, (n,))
    for layer in reversed(list(flow.transform.transforms)):
        z = invert(layer, z) if isinstance(layer, MaskedAutoregressive) else layer.inverse(z)
    return z


def flowjax_model(dim: int) -> peers.JaxModel:
    import equinox as eqx
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow
    import paramax

    flow = masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(dim)),
        flow_layers=LAYERS,
        nn_width=HIDDEN,
        nn_depth=1,
    )

    parameters, static = eqx.partition(
        flow,
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )
    return peers.JaxModel(
        parameters,
        lambda parameters: paramax.unwrap(eqx.combine(parameters, static)),
        lambda flow, x: flow.log_prob(x),
        lambda flow, key, n: flow.sample(key, (n,)),
    )


def zuko_model(dim: int) -> peers.TorchModel:
    import zuko

    flow = zuko.flows.MAF(dim, 0, transforms=LAYERS, hidden_features=(HIDDEN,))
    return peers.TorchModel(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def nflows_model(dim: int) -> peers.TorchModel:
    from nflows import distributions, flows, transforms

    layers = []
    for _ in range(LAYERS):
        layers += [
            transforms.MaskedAffineAutoregressiveTransform(
                dim, HIDDEN, num_blocks=1, use_residual_blocks=False
            ),
            transforms.ReversePermutation(dim),
        ]
    flow = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([dim]))
    return peers.TorchModel(flow, flow.log_prob, flow.sample)


def normflows_model(dim: int) -> peers.TorchModel:
    import normflows as nf

    # Its flows map latents to data; Reverse makes the density, not the sample, the single pass.
    layers = []
    for _ in range(LAYERS):
        layer = nf.flows.MaskedAffineAutoregressive(
            dim, HIDDEN, num_blocks=1, use_residual_blocks=False
        )
        layers += [nf.flows.Reverse(layer), nf.flows.Permute(dim, mode="shuffle")]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)
    return peers.TorchModel(flow, flow.log_prob, lambda n: flow.sample(n)[0])


BUILDERS = {
    "flowzoo": flowzoo_model,
    "naive": lambda dim: flowzoo_model(dim, naive=True),
    "flowjax": flowjax_model,
    "zuko": zuko_model,
    "nflows": nflows_model,
    "normflows": normflows_model,
}


def main(argv):
    del argv
    builders = {name: BUILDERS[name] for name in ["flowzoo", "naive", *LIBRARIES.value]}
    print(f"{peers.use_all_cores()} cores, {jax.devices()[0].device_kind}")
    compare = functools.partial(peers.compare, reference="flowzoo", max_seconds=SECONDS.value)
    dims = sorted(int(dim) for dim in DIMS.value)
    for dim in dims:
        models = peers.build_models(builders, dim)
        one_pass, naive = (np.asarray(models[name].sample(4)) for name in ("flowzoo", "naive"))
        np.testing.assert_allclose(one_pass, naive, rtol=1e-3, atol=1e-3)
        for name, model in models.items():
            peers.check_density(name, model, dim)
        if dim == dims[0]:
            x = np.random.default_rng(1).normal(size=(BATCH.value, dim)).astype(np.float32)
            evaluated = {name: model for name, model in models.items() if name != "naive"}
            for what in ("log_prob", "train_step"):
                compare(
                    f"{what} of {BATCH.value} points, D = {dim}",
                    {name: functools.partial(getattr(m, what), x) for name, m in evaluated.items()},
                    repeats=20,
                )
        compare(
            f"sample of {SAMPLES.value} points, D = {dim}",
            {name: functools.partial(m.sample, SAMPLES.value) for name, m in models.items()},
            repeats=7,
        )


if __name__ == "__main__":
    app.run(main)
