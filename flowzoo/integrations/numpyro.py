"""A flow as a NumPyro distribution. Needs the extra `numpyro`: `pip install flowzoo[numpyro]`."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from flowzoo.flow import Flow
from flowzoo.raw_flow import RawFlow


class FlowDistribution(dist.Distribution):
    """The density of a flow, to be used in NumPyro models.

    It is a density of real numbers also where the flow's data are integer levels: a draw is a level
    plus noise, between 0 and the number of levels.

    Args:
      flow: a `Flow`, or what `load_pretrained` or `fit` returned.
      context: labels `[...]` or features `[..., C]` of a conditional flow; its batch axes become
        the batch shape.
      validate_args: whether NumPyro checks that values lie in the support.

    Raises:
      ValueError: if the flow does not take this context.

    Example:
      >>> import jax, numpyro
      >>> import flowzoo
      >>> from flowzoo.integrations.numpyro import FlowDistribution
      >>> moons = FlowDistribution(flowzoo.load_pretrained("toy_moons"))
      >>> def model():
      ...     x = numpyro.sample("x", moons)
      ...     numpyro.sample("sum", numpyro.distributions.Normal(x.sum(), 0.1), obs=2.0)
    """

    pytree_data_fields = ("flow", "context")

    def __init__(self, flow: Flow | RawFlow, context=None, *, validate_args: bool | None = None):
        encoded = (flow.flow if isinstance(flow, RawFlow) else flow).encode_context(context)
        self.flow = flow
        self.context = None if context is None else jnp.asarray(context)
        batch_shape = () if encoded is None else encoded.shape[:-1]
        super().__init__(batch_shape, flow.event_shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        levels = getattr(self.flow, "levels", None)
        each = constraints.real if levels is None else constraints.interval(0.0, float(levels))
        return constraints.independent(each, len(self.event_shape))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws `[*sample_shape, *batch_shape, *event_shape]`."""
        return self.flow.sample_and_log_prob(key, sample_shape, self.context)[0]

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density `[..., *batch_shape]` of `value: [..., *batch_shape, *event_shape]`."""
        return self.flow.log_prob(value, self.context)
