"""Padding by Gaussian noise, which makes a flow an augmented one."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.event_keys import event_keys
from flowzoo.numerics.normal import log_normal_density
from flowzoo.numerics.shapes import batch_shape, sum_event
from flowzoo.numerics.variables import Constant
from flowzoo.transforms.transform import Transform


class GaussianPadding(Transform):
    """`z = (x, u)`, u ~ q = N(0, σ² I); `log_det = −log q(u)`. The inverse drops u.

    A flow that begins with a padding is an *augmented* flow: it has a density p(x, u) on more
    dimensions than the data, and its density of x is the integral `p(x) = ∫ p(x, u) du`. Hence:

      `sample` draws from p(x) exactly.
      `log_prob` is `log p(x, u) − log q(u)` at one u, which is a lower bound on `log p(x)` in the
        mean over u, by Jensen's inequality: `E_q[log p(x, u) − log q(u)] = log p(x) − KL(q(u) ‖
        p(u | x))`. Maximising it is maximum likelihood of the padded data.
      `importance_weighted_log_prob` averages the densities of many u before the logarithm. It is
        in the mean a lower bound too, a tighter one, and tends to `log p(x)`.
      `sample_and_log_prob` returns the same `log p(x, u) − log q(u)`, at the u that was sampled.

    The noise is drawn from a key and the event: the same event has the same noise in every call,
    alone, in a batch or mapped, until `with_padding_key` gives the layer another key. A training
    step should do so, or each point is only ever seen with one noise.

    Zero padding is not offered: data that are padded with zeros lie in a subspace of volume zero
    and have no density.

    Args:
      event_shape: shape of one event; of an image `(H, W, C)`.
      padding: how many numbers are appended along the last axis: coordinates, or channels.
      noise: σ.
      seed: of the key.

    Raises:
      ValueError: if the noise is not positive or there is no padding.

    Sources: Huang, Dinh, Courville, "Augmented normalizing flows", arXiv 2002.07101; Burda, Grosse,
    Salakhutdinov, "Importance weighted autoencoders", arXiv 1509.00519, for the estimate.

    Example:
      >>> from flax import nnx
      >>> import jax
      >>> import flowzoo
      >>> from flowzoo import bases, transforms
      >>> padding = transforms.GaussianPadding((2,), 2)
      >>> dense = transforms.Dense(4, rngs=nnx.Rngs(0))
      >>> flow = flowzoo.Flow(bases.StandardNormal((4,)), transforms.Chain([padding, dense]))
      >>> flow.sample(jax.random.key(0), (5,)).shape
      (5, 2)
    """

    def __init__(
        self, event_shape: tuple[int, ...], padding: int, *, noise: float = 1.0, seed: int = 0
    ):
        self.event_shape = tuple(event_shape)
        if padding < 1 or not self.event_shape:
            raise ValueError(
                f"GaussianPadding got event_shape {event_shape} and padding {padding}, expected a "
                "shape with an axis to lengthen, and at least 1."
            )
        if not 0 < noise < np.inf:
            raise ValueError(
                f"GaussianPadding got noise {noise}, expected a positive number: data padded with "
                "zeros lie in a subspace of volume zero and have no density, and a flow's "
                "likelihood of them grows without bound as it flattens onto that subspace."
            )
        self.padding, self.noise = padding, float(noise)
        self.key = Constant(jax.random.key_data(jax.random.key(seed, impl="threefry2x32")))

    @property
    def latent_shape(self):
        return (*self.event_shape[:-1], self.event_shape[-1] + self.padding)

    def draw(self, x: jax.Array) -> jax.Array:
        """The noise of each event of `x: [..., *event_shape]`, one by one from its bits."""
        batch = batch_shape(x, self.event_shape)
        shape = (*self.event_shape[:-1], self.padding)
        key = jax.random.wrap_key_data(self.key[...], impl="threefry2x32")
        keys = event_keys(key, x.reshape(*batch, -1)).reshape(-1)
        noise = jax.vmap(lambda own: jax.random.normal(own, shape, x.dtype))(keys)
        return self.noise * noise.reshape(batch + shape)

    def log_density(self, u: jax.Array) -> jax.Array:
        """`log q(u)` in nats, `[...]`, of `u: [..., *event_shape[:-1], padding]`."""
        standard = log_normal_density(u / self.noise) - np.log(self.noise).astype(u.dtype)
        return sum_event(standard, len(self.event_shape))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        u = self.draw(x)
        return jnp.concatenate([x, u], -1), -self.log_density(u)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x, u = jnp.split(z, [self.event_shape[-1]], axis=-1)
        return x, self.log_density(u)


def with_padding_key(module, key: jax.Array):
    """A copy of a flow or transform whose paddings draw from another key, each its own noise.

    Args:
      module: what holds `GaussianPadding` layers.
      key: a JAX random key.
    """
    module = nnx.clone(module)
    layers = [layer for _, layer in nnx.iter_modules(module) if isinstance(layer, GaussianPadding)]
    for i, layer in enumerate(layers):
        own = jax.random.bits(jax.random.fold_in(key, i), (2,), jnp.uint32)
        layer.key = Constant(own)
    return module


def importance_weighted_log_prob(
    flow, x: jax.Array, key: jax.Array, *, num_samples: int, context=None
) -> jax.Array:
    """`log (1/S) Σ_s p(x, u_s) / q(u_s)`, u_s ~ q: the likelihood of an augmented flow.

    In the mean it is a lower bound on `log p(x)` that rises with S, and tends to it.

    Args:
      flow: a flow with a `GaussianPadding`.
      x: `[..., *event_shape]`.
      key: of the noise.
      num_samples: S. With S = 1 it is `flow.log_prob`.
      context: as for `flow.log_prob`.

    Returns:
      `[...]`, in nats.
    """

    def one(key):
        return with_padding_key(flow, key).log_prob(x, context)

    log_weights = jax.lax.map(one, jax.random.split(key, num_samples))
    return jax.nn.logsumexp(log_weights, axis=0) - np.log(num_samples)
