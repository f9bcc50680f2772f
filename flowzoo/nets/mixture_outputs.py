"""Outputs of a masked network that stand for mixtures of Gaussians."""

from flax import nnx
import jax

from flowzoo.nets.masked_mlp import MaskedMLP


def num_outputs(num_components: int) -> int:
    """Outputs that a network needs for each coordinate's mixture."""
    if num_components < 1:
        raise ValueError(f"num_components is {num_components}, expected at least 1.")
    return 3 * num_components


def spread_means(net: MaskedMLP, rngs: nnx.Rngs) -> None:
    """Draws the components' first means from N(0, 1): equal ones would stay equal."""
    shape = (net.num_outputs // 3, net.dim)
    means = jax.random.normal(rngs.params(), shape)
    net.output_bias[...] = net.output_bias[...].at[shape[0] : 2 * shape[0]].set(means)
