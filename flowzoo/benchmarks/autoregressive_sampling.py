"""Sampling a masked autoregressive flow, against other libraries.

    python -m flowzoo.benchmarks.autoregressive_sampling [--dims=63,784] [--libraries=zuko,nflows]

MAF of 5 layers with one hidden layer of 512 ReLU units each, no batch norm, float32, on the CPU:
`--samples` points by the one-pass inverse, by D passes of the same model ("naive"), and by flowjax,
zuko, nflows and normflows, which all make D passes. The networks of nflows and normflows have one
more linear map, of 512 × 512: theirs have no smaller one with a nonlinearity. All in one process,
taking turns; a library that cannot be imported is left out.

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

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo import command_line
from flowzoo.benchmarks import peer_models
from flowzoo.benchmarks.peer_flows import FLOWS, flowzoo_maf
from flowzoo.numerics.smooth import bounded_log_scale
from flowzoo.transforms import MaskedAutoregressive


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


def blocking(program, *arguments) -> jax.Array:
    return program(*arguments).block_until_ready()


def main(dims: list[int], samples: int, libraries: list[str], max_seconds: float) -> None:
    """Checks the two inverses against each other and times all of them at each dimension."""
    builders = {name: FLOWS["maf"][name] for name in ["flowzoo", *libraries]}
    print(f"{peer_models.use_all_cores()} cores, {jax.devices()[0].device_kind}")
    for dim in sorted(dims):
        models = peer_models.build_models(builders, dim)
        calls = {name: functools.partial(m.sample, samples) for name, m in models.items()}
        flow, key = flowzoo_maf(dim), jax.random.key(0)
        naive = jax.jit(naive_sample, static_argnums=2)
        calls["naive"] = functools.partial(blocking, naive, flow, key, samples)
        np.testing.assert_allclose(
            models["flowzoo"].sample(4), naive(flow, key, 4), rtol=1e-3, atol=1e-3
        )
        peer_models.compare(
            f"{samples} samples, D = {dim}",
            calls,
            reference="flowzoo",
            repeats=7,
            max_seconds=max_seconds,
        )


if __name__ == "__main__":
    _DIMS = flags.DEFINE_list("dims", ["63", "784"], "Dimensions of the data.")
    _SAMPLES = flags.DEFINE_integer("samples", 100, "Points drawn in one call.", lower_bound=1)
    _LIBRARIES = flags.DEFINE_list(
        "libraries", ["flowjax", "zuko", "nflows", "normflows"], "Libraries to compare with."
    )
    _SECONDS = flags.DEFINE_float(
        "max_seconds", 30.0, "Time after which a program is called no more."
    )
    command_line.run(
        lambda argv: main(
            [int(dim) for dim in _DIMS.value], _SAMPLES.value, _LIBRARIES.value, _SECONDS.value
        )
    )
