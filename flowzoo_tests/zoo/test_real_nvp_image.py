"""The recipe of the multi-scale Real NVP."""

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo.transforms import Chain
from flowzoo.transforms.image.couplings import ChannelCoupling, CheckerboardCoupling
from flowzoo_tests.perturb import perturbed

OPTIONS = dict(name="real_nvp_image", image_shape=(4, 4, 1), hidden_channels=3, num_blocks=1)


@pytest.mark.parametrize(
    ("kind", "num_scales", "count"),
    [(CheckerboardCoupling, 2, 3), (ChannelCoupling, 2, 3), (CheckerboardCoupling, 1, 4)],
)
def test_couplings_in_a_row_change_every_number(kind, num_scales, count):
    """Of two of one parity half of the numbers would pass both as they are."""
    options = OPTIONS | dict(num_scales=num_scales)
    flow = perturbed(flowzoo.build(options, (16,), rngs=nnx.Rngs(0)), scale=0.3)
    couplings = [t for t in flow.transform.transforms[1].transforms if isinstance(t, kind)]
    assert len(couplings) == count
    for pair in zip(couplings, couplings[1:], strict=False):
        jacobian = jax.jit(lambda pair, x: jax.jacobian(pair.forward)(x))(
            Chain(list(pair)), jax.random.normal(jax.random.key(0), pair[0].event_shape)
        )
        size = int(np.prod(pair[0].event_shape))
        jacobian = np.asarray(jacobian).reshape(size, size)
        assert not np.any(np.all(jacobian == np.eye(size), axis=1))


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="expected .*H W C = D"):
        flowzoo.build(OPTIONS, (15,), rngs=nnx.Rngs(0))
