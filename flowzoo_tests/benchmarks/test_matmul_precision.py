import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.benchmarks.matmul_precision import with_rounded_products


def test_only_operands_of_products_are_rounded():
    @jax.jit
    def f(x, w):
        return {"y": jax.nn.relu(x @ w.T), "x": x + 0}

    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    w = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    got = jax.jit(with_rounded_products(f, 7))(x, w)
    to_bfloat16 = lambda a: jnp.asarray(a, jnp.bfloat16).astype(jnp.float32)  # noqa: E731
    expected = f(to_bfloat16(x), to_bfloat16(w))
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got["x"], x)
    assert not np.allclose(got["y"], f(x, w)["y"], rtol=1e-4)
