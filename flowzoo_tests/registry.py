"""Every transform of the zoo, small: the one dictionary that drives the property tests.

A new transform adds a line here and is tested. Constructors take `nnx.Rngs`; a conditional transform
declares its `context_size`.
"""

import numpy as np

from flowzoo import transforms as T


def _fitted(transform):
    """A transform that starts from data, after it has seen some."""
    transform.initialize(np.random.default_rng(0).normal(size=(50, 3)) @ np.diag([1.0, 0.1, 5.0]))
    return transform


TRANSFORMS = {
    "affine": lambda rngs: T.Affine((3,), shift=[0.5, -1.0, 0.0], scale=[2.0, 0.1, -3.0]),
    "logit": lambda rngs: T.Inverse(T.Logit((3,), alpha=0.05)),
    "permutation": lambda rngs: T.Permutation.random(5, rngs=rngs),
    "reverse": lambda rngs: T.Reverse(4),
    "reshape": lambda rngs: T.Reshape((2, 2), (4,)),
    "smooth_leaky_relu": lambda rngs: T.SmoothLeakyReLU((4,)),
    "smooth_leaky_relu_image": lambda rngs: T.SmoothLeakyReLU((2, 2, 1), alpha=0.3),
    "tanh_mix": lambda rngs: T.TanhMix((4,)),
    "whiten": lambda rngs: _fitted(T.Whiten(3)),
    "dense": lambda rngs: T.Dense(4, rngs=rngs),
    "dense_no_bias": lambda rngs: T.Dense(4, use_bias=False, init="identity", rngs=rngs),
    "batch_norm": lambda rngs: T.BatchNorm((3,)),
    "batch_norm_image": lambda rngs: T.BatchNorm((2, 2, 3)),
    "coupling": lambda rngs: T.AffineCoupling(
        [0, 1, 1, 0, 0], hidden_sizes=(6,), context_size=2, rngs=rngs
    ),
    "coupling_image": lambda rngs: T.AffineCoupling(
        [[0, 1], [1, 0]], hidden_sizes=(6, 5), rngs=rngs
    ),
    "chain": lambda rngs: T.Chain(
        [T.Dense(3, rngs=rngs), T.SmoothLeakyReLU((3,)), T.Dense(3, rngs=rngs), T.Reverse(3)]
    ),
}
