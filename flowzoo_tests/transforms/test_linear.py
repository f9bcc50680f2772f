"""Linear layers: that each makes the matrices it says, from where it says."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from flowzoo import transforms as T
from flowzoo.transforms.linear.linear import initial_matrix
from flowzoo.transforms.linear.orthogonal import newton_schulz
from flowzoo_tests.perturb import perturbed

ORTHOGONAL = {
    "householder": lambda **options: T.Householder(5, **options),
    "cayley": lambda **options: T.Orthogonal(5, method="cayley", **options),
    "exponential": lambda **options: T.Orthogonal(5, method="exponential", **options),
    "newton_schulz": lambda **options: T.Orthogonal(5, method="newton_schulz", **options),
}
GENERAL = {
    "plu": lambda **options: T.PLU(5, **options),
    "qr": lambda **options: T.QR(5, **options),
    "svd": lambda **options: T.SVD(5, **options),
    "svd_newton_schulz": lambda **options: T.SVD(5, method="newton_schulz", **options),
}


@pytest.mark.parametrize("name", ORTHOGONAL | GENERAL)
def test_starts_where_it_says(name, x64):
    make = (ORTHOGONAL | GENERAL)[name]
    np.testing.assert_allclose(
        make(init="identity", rngs=nnx.Rngs(0)).matrix(), np.eye(5), atol=1e-12
    )
    start = make(init="orthogonal", rngs=nnx.Rngs(0)).matrix()
    np.testing.assert_allclose(start.T @ start, np.eye(5), atol=1e-12)
    assert np.linalg.norm(start - np.eye(5)) > 1


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_stays_orthogonal(name, x64):
    layer = perturbed(ORTHOGONAL[name](init="orthogonal", rngs=nnx.Rngs(0)), 0.3)
    q = layer.matrix()
    np.testing.assert_allclose(q.T @ q, np.eye(5), atol=1e-12)
    assert abs(layer.log_abs_det()) < 1e-12


@pytest.mark.parametrize("name", ORTHOGONAL | GENERAL)
def test_all_directions_of_the_matrix_can_be_trained(name, x64):
    """The rank of ∂W/∂θ is the dimension of the set of matrices: D² of all, D(D − 1)/2 of Q."""
    layer = perturbed((ORTHOGONAL | GENERAL)[name](init="orthogonal", rngs=nnx.Rngs(0)))
    layer.bias = None
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def matrix(parameters):
        return nnx.merge(graph, parameters, rest).matrix().reshape(-1)

    jacobian = jax.jit(jax.jacrev(matrix))(parameters)
    columns = [np.asarray(a).reshape(25, -1) for a in jax.tree.leaves(jacobian)]
    rank = np.linalg.matrix_rank(np.concatenate(columns, 1), tol=1e-8)
    assert rank == (10 if name in ORTHOGONAL else 25)


def test_householder_is_the_product_of_its_reflections(x64):
    layer = T.Householder(4, num_reflections=3, rngs=nnx.Rngs(0))
    expected = np.eye(4)
    for v in layer.vectors[...]:
        expected = expected @ (np.eye(4) - 2 * np.outer(v, v) / (v @ v))
    np.testing.assert_allclose(layer.matrix(), expected, atol=1e-12)


def test_householder_with_a_zero_vector_is_finite():
    layer = T.Householder(4, rngs=nnx.Rngs(0))
    layer.vectors[...] = layer.vectors[...].at[1].set(0)
    gradient = nnx.grad(lambda layer: layer.forward(jnp.ones(4)).sum())(layer)
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(gradient))


def test_plu_starts_at_the_rotation_drawn(x64):
    expected = initial_matrix("PLU", 5, "orthogonal", nnx.Rngs(0))
    np.testing.assert_allclose(T.PLU(5, rngs=nnx.Rngs(0)).matrix(), expected, atol=1e-12)


def test_newton_schulz_finds_the_orthogonal_factor(x64):
    rng = np.random.default_rng(0)
    for condition in (1.0, 10.0, 300.0):
        u, v = (np.linalg.qr(rng.normal(size=(6, 6)))[0] for _ in range(2))
        m = u @ np.diag(np.geomspace(1, 1 / condition, 6)) @ v
        expected = scipy.linalg.polar(m)[0]
        np.testing.assert_allclose(newton_schulz(jnp.asarray(17 * m)), expected, atol=1e-10)


def test_newton_schulz_tells_what_it_has_not_reached(x64):
    layer = T.Orthogonal(4, method="newton_schulz", init="identity", rngs=nnx.Rngs(0))
    assert float(layer.orthogonality_error()) < 1e-12
    layer.weight[...] = jnp.diag(jnp.array([1.0, 1.0, 1.0, 5e-4]))
    error = float(layer.orthogonality_error())
    assert 1e-6 < error < 0.5
    exact = np.linalg.slogdet(layer.matrix())[1]
    assert abs(layer.log_abs_det() - exact) < error**2


def test_bad_options_are_refused():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match="PLU got dim 0, expected at least 1"):
        T.PLU(0, rngs=rngs)
    with pytest.raises(ValueError, match="PLU got init 'zeros', expected one of identity"):
        T.PLU(3, init="zeros", rngs=rngs)
    with pytest.raises(ValueError, match="Householder got init 'zeros'"):
        T.Householder(3, init="zeros", rngs=rngs)
    with pytest.raises(ValueError, match="num_reflections 3 with init 'identity'"):
        T.Householder(3, init="identity", num_reflections=3, rngs=rngs)
    with pytest.raises(ValueError, match="Orthogonal got method 'svd', expected one of cayley"):
        T.Orthogonal(3, method="svd", rngs=rngs)
    with pytest.raises(ValueError, match="orthogonal method is 'qr', expected one of householder"):
        T.SVD(3, method="qr", rngs=rngs)
