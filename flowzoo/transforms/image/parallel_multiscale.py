"""Images as groups of pixels that are known one after the other."""

import math
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.nets.conv import ResidualConvNet
from flowzoo.nets.masked_mlp import MaskedMLP
from flowzoo.numerics import logistic_levels
from flowzoo.numerics.shapes import image_shape
from flowzoo.numerics.variables import Constant
from flowzoo.transforms.image.multiscale import squeezed, unsqueezed
from flowzoo.transforms.transform import Transform

# Values that rounding takes out of [0, 1] by no more than this are taken back into it.
ROUNDING = 1e-6
# Of the 2 × 2 pixels of a block, in the order of rows: which are mapped, and which are known then.
# The first pixel of each block belongs to the next coarser image.
GROUPS = (((3,), (0,)), ((1, 2), (0, 3)))


class _Step(NamedTuple):
    """One group of numbers of a scale: where they lie among the 4 C of a block, and what is known.

    Attributes:
      mapped, known: of the 4 C numbers of a block.
    """

    mapped: tuple[int, ...]
    known: tuple[int, ...]


class ParallelMultiscale(Transform):
    """`z_i = F_i(x_i | levels of the pixels known before)` for images in [0, 1]; `Σ log F_i'`.

    F_i is the distribution function of a density that is piecewise constant. Its steps are the L
    grey levels `[k/L, (k + 1)/L)`, its K bins are runs of levels. A network gives the probabilities
    π_b of the bins, and within a bin each level has the share r_k that it has in training data:
    with k the level of x, b its bin and R_k the shares of the levels of b below k,

      `F(x) = Σ_{j<b} π_j + π_b (R_k + r_k (L x − k))`,  `F'(x) = L π_b r_k`.

    With `num_components` the levels of each number but those of the last image have a mixture of
    logistics instead, see `flowzoo.numerics.logistic_levels`: for levels that are near a value and
    not just frequent, as in natural images.

    The latents of an image with the model's density are uniform on [0, 1]; beyond [0, 1] F goes on
    as a line.

    Of each 2 × 2 block of pixels the first belongs to an image of half the size, and the others are
    mapped in two groups: the last, given the first; and the two others, given both. A residual
    convolutional network sees all known pixels and gives the bins of a whole group at once, for a
    colour image one channel after the other. So it goes on for `num_scales` scales, and a masked
    network maps the pixels of the last image one after the other. Sampling takes a pass of each
    network.

    The networks see levels, not the numbers between them. So the flow is, but for the bins, an
    autoregressive distribution of grey levels, with the noise of dequantization within a level.

    Sources: Reed, van den Oord, Kalchbrenner, Colmenarejo, Wang, Belov, de Freitas, "Parallel
    multiscale autoregressive density estimation", ICML 2017, arXiv 1703.03664 (the groups); Müller,
    McWilliams, Rousselle, Gross, Novák, "Neural importance sampling", arXiv 1808.03856 (piecewise
    linear maps).

    Args:
      event_shape: `(H, W, C)`; H and W divisible by `2^num_scales`.
      levels: L.
      num_bins: K, 2 … L.
      num_scales: how often the image is halved.
      hidden_channels, num_blocks: of each convolutional network.
      hidden_sizes: of the masked network.
      num_components: M, logistics of each number outside of the last image; 0 for bins there too.
      context_size: width of the context, 0 for none.
      rngs: draws the weights.

    Attributes:
      bins: int32 `[L]`, the bin of each level; set from training data, as are the shares.
      shares: `[L]`, the share of each level in its bin.

    Raises:
      ValueError: if the event is not such an image, there are more bins than levels, or the
        components are negative in number.
    """

    fit_rows = 4096

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        levels: int = 256,
        num_bins: int = 25,
        num_scales: int = 2,
        hidden_channels: int = 32,
        num_blocks: int = 2,
        hidden_sizes: tuple[int, ...] = (256, 256),
        num_components: int = 0,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        self.event_shape = image_shape(type(self).__name__, event_shape)
        height, width, channels = self.event_shape
        factor = 2**num_scales
        if num_scales < 0 or height % factor or width % factor:
            raise ValueError(
                f"ParallelMultiscale got {num_scales} scales for event_shape {self.event_shape}, "
                "expected at least 0 and a height and width that halve at each of them."
            )
        if not 2 <= num_bins <= levels:
            raise ValueError(
                f"ParallelMultiscale got {num_bins} bins for {levels} levels, expected at least 2 "
                "bins and no more than levels."
            )
        if num_components < 0:
            raise ValueError(
                f"ParallelMultiscale got num_components {num_components}, expected at least 0."
            )
        self.levels, self.num_bins, self.num_scales = levels, num_bins, num_scales
        self.num_components = num_components
        outputs = 3 * num_components or num_bins
        self.context_size = context_size
        self.steps = tuple(_steps(channels))
        shares = np.full(levels, 1 / levels)
        self.bins, self.shares = Constant(jnp.zeros(levels, jnp.int32)), Constant(jnp.zeros(levels))
        self.nets = nnx.List(
            [
                ResidualConvNet(
                    2 * len(step.known),
                    outputs * len(step.mapped),
                    hidden_channels=hidden_channels,
                    num_blocks=num_blocks,
                    context_size=context_size,
                    position_shape=(height >> scale, width >> scale),
                    last_size=1,
                    linear=num_components > 0,
                    rngs=rngs,
                )
                for scale in range(1, num_scales + 1)
                for step in self.steps
            ]
        )
        self.coarse = MaskedMLP(
            height * width * channels // factor**2,
            num_bins,
            hidden_sizes=hidden_sizes,
            context_size=context_size,
            rngs=rngs,
        )
        self._set_bins(shares)

    def fit(self, x, context=None):
        """Sets the bins, the shares and the networks' first answer from the levels in the data."""
        self.check_event(x)
        # One more of each level, so that none has probability zero.
        counts = np.bincount(np.asarray(self._level(x)).ravel(), minlength=self.levels) + 1.0
        self._set_bins(counts / counts.sum())

    def _set_bins(self, masses: np.ndarray) -> None:
        bins = choose_bins(masses, self.num_bins)
        of_bins = np.bincount(bins, weights=masses)
        self.bins[...] = jnp.asarray(bins, jnp.int32)
        self.shares[...] = jnp.asarray(masses / of_bins[bins], self.shares[...].dtype)
        log_masses = np.log(of_bins)
        start = log_masses
        if self.num_components:
            start = logistic_levels.starting_outputs(masses, self.num_components)
        for net in self.nets:
            bias = net.last.bias
            repeated = np.tile(start, bias.shape[0] // len(start))
            bias[...] = jnp.asarray(repeated, bias[...].dtype)
        bias = self.coarse.output_bias
        repeated = np.broadcast_to(log_masses[:, None], bias.shape)
        bias[...] = jnp.asarray(repeated, bias[...].dtype)

    def _level(self, x: jax.Array) -> jax.Array:
        return jnp.clip(jnp.floor(x * self.levels), 0, self.levels - 1).astype(jnp.int32)

    def _features(self, level: jax.Array, dtype) -> jax.Array:
        """`[..., n]` to `[..., 2 n]`: the level, and the middle of its bin, both from −1 to 1."""
        bins = self.bins[...][level] / (self.num_bins - 1)
        both = jnp.concatenate([level / (self.levels - 1), bins], -1)
        return (2 * both - 1).astype(dtype)

    def _of_scale(self, scale: int, step: int, levels: jax.Array, context, dtype) -> jax.Array:
        """What one group has, `[..., h, w, n, K or 3 M]`; `levels: [..., h, w, 4 C]`."""
        index = scale * len(self.steps) + step
        known = self._features(levels[..., list(self.steps[step].known)], dtype)
        y = self.nets[index](known, context)
        return y.reshape(*y.shape[:-1], len(self.steps[step].mapped), -1)

    def _of_coarse(self, levels: jax.Array, context, dtype) -> jax.Array:
        """Log-odds `[..., D, K]` of the last image; `levels: [..., D]`."""
        return self.coarse(self._coarse_input(levels, dtype), context).swapaxes(-1, -2)

    def _coarse_input(self, levels: jax.Array, dtype) -> jax.Array:
        return (2 * levels / (self.levels - 1) - 1).astype(dtype)

    def _evaluate_group(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        if not self.num_components:
            return self._evaluate(x, y)
        level = self._level(jax.lax.stop_gradient(x))
        value, log_slope = logistic_levels.evaluate(x, level, y, self.levels)
        return _within(value, x), log_slope

    def _invert_group(self, z: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        if not self.num_components:
            return self._invert(z, y)
        return logistic_levels.invert(z, y, self.levels)

    def _evaluate(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`F(x)` and `log F'(x)`, `[...]`, of `x: [...]` and log-odds `y: [..., K]`."""
        k = self._level(jax.lax.stop_gradient(x))
        share, start = self.shares[...], self._starts()
        b = self.bins[...][k][..., None]
        index = jnp.arange(self.num_bins)
        log_total = jax.nn.logsumexp(y, -1, keepdims=True)
        log_mass = jnp.where(index == b, y - log_total, 0).sum(-1)
        before = jnp.where(index < b, jnp.exp(y - log_total), 0).sum(-1)
        inside = start[k] + share[k] * (x * self.levels - k)
        log_slope = log_mass + jnp.log(share)[k] + math.log(self.levels)
        value = before + jnp.exp(log_mass) * inside
        return _within(value, x), log_slope

    def _invert(self, z: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`F⁻¹(z)`, its level and `log F'` there."""
        share, start, bins = self.shares[...], self._starts(), self.bins[...]
        log_masses = jax.nn.log_softmax(y, -1)
        masses = jnp.exp(log_masses)
        ends = jnp.cumsum(masses, -1)[..., :-1]
        b = (jax.lax.stop_gradient(z)[..., None] >= ends).sum(-1)
        index = jnp.arange(self.num_bins)
        log_mass = jnp.where(index == b[..., None], log_masses, 0).sum(-1)
        before = jnp.where(index < b[..., None], masses, 0).sum(-1)
        inside = (z - before) * jnp.exp(-log_mass)
        # Levels of all bins on one increasing scale, of which each bin has a unit.
        place = b + jnp.clip(jax.lax.stop_gradient(inside), 0, 1)
        k = jnp.searchsorted(bins + start, place, side="right", method="sort") - 1
        # At the upper end of a bin, where the next one begins, the level is still of this one.
        last = jnp.searchsorted(bins, b, side="right") - 1
        k = jnp.minimum(k, last)
        x = (k + (inside - start[k]) / share[k]) / self.levels
        return x, k, log_mass + jnp.log(share)[k] + math.log(self.levels)

    def _starts(self) -> jax.Array:
        """`R: [L]`, the shares of the levels of the same bin below each."""
        share, bins = self.shares[...], self.bins[...]
        below = jnp.cumsum(share) - share
        first = jnp.searchsorted(bins, bins)
        return below - below[first]

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._forward(x, context)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return self._inverse(z, context)

    # Programs of their own: outside jit, every operation would be compiled for itself, and the loop
    # over the pixels of the last image anew at every call.
    @jax.jit
    def _forward(self, x, context):
        x = _snapped(x)
        latents, log_det = [], 0
        for scale in range(self.num_scales):
            x = squeezed(x)
            levels = self._level(x)
            z = jnp.zeros_like(x)
            for i, step in enumerate(self.steps):
                y = self._of_scale(scale, i, levels, context, x.dtype)
                mapped = list(step.mapped)
                value, log_slope = self._evaluate_group(x[..., mapped], y)
                z = z.at[..., mapped].set(value)
                log_det = log_det + log_slope.sum((-3, -2, -1))
            latents.append(z)
            x = x[..., : self.event_shape[-1]]
        flat = x.reshape(*x.shape[:-3], -1)
        value, log_slope = self._evaluate(
            flat, self._of_coarse(self._level(flat), context, x.dtype)
        )
        z = value.reshape(x.shape)
        for scale in latents[::-1]:
            z = unsqueezed(scale.at[..., : self.event_shape[-1]].set(z))
        return z, log_det + log_slope.sum(-1)

    @jax.jit
    def _inverse(self, z, context):
        latents = []
        for _ in range(self.num_scales):
            z = squeezed(z)
            latents.append(z)
            z = z[..., : self.event_shape[-1]]
        flat = z.reshape(*z.shape[:-3], -1)
        if context is not None and self.context_size:
            shape = jnp.broadcast_shapes(flat.shape[:-1], context.shape[:-1])
            flat = jnp.broadcast_to(flat, (*shape, flat.shape[-1]))

        def generate(y, z):
            return self._coarse_input(self._invert(z, y.T)[1], z.dtype)

        seen = jax.lax.stop_gradient(self.coarse.generate(generate, (flat,), context))
        y = self.coarse(seen, context).swapaxes(-1, -2)
        x, levels, log_slope = self._invert(flat, y)
        log_det = -log_slope.sum(-1)
        shape = z.shape[-3:]
        x, levels = (a.reshape(*a.shape[:-1], *shape) for a in (x, levels))
        channels = self.event_shape[-1]
        for scale, z in reversed(list(enumerate(latents))):
            known = jnp.zeros((*levels.shape[:-1], 4 * channels), levels.dtype)
            known = known.at[..., :channels].set(levels)
            whole = jnp.zeros((*x.shape[:-1], 4 * channels), x.dtype).at[..., :channels].set(x)
            for i, step in enumerate(self.steps):
                y = self._of_scale(scale, i, known, context, x.dtype)
                mapped = list(step.mapped)
                x, levels, log_slope = self._invert_group(z[..., mapped], y)
                whole = whole.at[..., mapped].set(x)
                known = known.at[..., mapped].set(levels)
                log_det = log_det - log_slope.sum((-3, -2, -1))
            x, levels = unsqueezed(whole), unsqueezed(known)
        return x, log_det


def choose_bins(masses: np.ndarray, num_bins: int) -> np.ndarray:
    """K runs of levels whose probabilities are as equal as levels allow.

    Each bin takes levels until it has its share of what is left, so that a frequent level has a bin
    of its own.

    Args:
      masses: `[L]`, the probabilities of the levels.
      num_bins: K, at most L.

    Returns:
      `[L]`, the bin of each level, 0 … K − 1 in order.
    """
    bins = np.zeros(len(masses), int)
    left, current, mass = float(masses.sum()), 0, 0.0
    for k in range(len(masses)):
        bins[k] = current
        mass += masses[k]
        remaining_levels, remaining_bins = len(masses) - k - 1, num_bins - current - 1
        full = mass * (remaining_bins + 1) > left * (1 - 1e-9)
        if remaining_bins and (full or remaining_levels == remaining_bins):
            left, mass, current = left - mass, 0.0, current + 1
    return bins


def _steps(channels: int) -> list[_Step]:
    """Of colour images the channels of a group follow one another, each known to the next."""
    steps = []
    for mapped, known in GROUPS:
        seen = [p * channels + c for p in known for c in range(channels)]
        for c in range(channels):
            steps.append(_Step(tuple(p * channels + c for p in mapped), tuple(seen)))
            seen += [p * channels + c for p in mapped]
    return steps


def _within(value: jax.Array, x: jax.Array) -> jax.Array:
    """`F(x)` as it is but for rounding, by which sums of probabilities may go beyond one."""
    return jnp.where((x >= 0) & (x <= 1), jnp.clip(value, 0, 1), value)


def _snapped(x: jax.Array) -> jax.Array:
    inside = jnp.clip(x, 0, 1)
    return jnp.where(jnp.abs(x - inside) < ROUNDING, inside, x)
