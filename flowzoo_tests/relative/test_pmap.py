"""The optax transformation in a reader's own `jax.pmap`ped step."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo.relative import scale_by_relative_gradient
from flowzoo_tests.relative.two_layers import DIM, LAYERS, data_terms, make_params, make_x

pytestmark = pytest.mark.usefixtures("x64")


def test_a_pmapped_step_equals_one_device():
    devices, rows, steps = 4, 3, 5
    optimizer = optax.chain(
        scale_by_relative_gradient(LAYERS, layout="out_in", add_log_det=1.0), optax.sgd(0.01)
    )
    params = make_params(0)
    batches = make_x(0, steps * devices * rows).reshape(steps, devices * rows, DIM)

    @jax.jit
    def single(params, state, x):
        gradients = jax.grad(data_terms)(params, x)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    @functools.partial(jax.pmap, axis_name="devices", devices=jax.devices()[:devices])
    def parallel(params, state, x):
        gradients = jax.lax.pmean(jax.grad(data_terms)(params, x), "devices")
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    copies = jax.tree.map(lambda a: jnp.stack([a] * devices), (params, state))
    one = params, state
    for x in batches:
        one = single(*one, x)
        copies = parallel(*copies, x.reshape(devices, rows, DIM))
    # The mean over devices is summed in another order than that over rows, and in no other way.
    chex.assert_trees_all_close(
        copies[0], jax.tree.map(lambda a: jnp.stack([a] * devices), one[0]), rtol=4e-16, atol=4e-16
    )
    assert not np.allclose(one[0]["0"]["weight"], params["0"]["weight"])
