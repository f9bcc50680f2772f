"""Every transform of the zoo, small: the one dictionary that drives the property tests.

A new transform adds a line here and is tested. Constructors take `nnx.Rngs`; a conditional
transform declares its `context_size`.
"""

import numpy as np

from flowzoo import transforms as T


def _fitted(transform):
    """A transform that starts from data, after it has seen some."""
    transform.initialize(np.random.default_rng(0).normal(size=(50, 3)) @ np.diag([1.0, 0.1, 5.0]))
    return transform


MULTISCALE = dict(levels=6, num_scales=1, hidden_channels=3, num_blocks=1, hidden_sizes=(5,))

TRANSFORMS = {
    "affine": lambda rngs: T.Affine((3,), shift=[0.5, -1.0, 0.0], scale=[2.0, 0.1, -3.0]),
    "units": lambda rngs: T.Units((3,), shift=[2000.1, -1.0, 0.0], scale=[2.0, 0.1, -3.0]),
    "arcsinh": lambda rngs: T.Arcsinh((3,), where=[True, False, True]),
    # Of numbers between 0.1 and 1.3.
    "log": lambda rngs: T.Chain(
        [T.Inverse(T.Logit((3,), alpha=0.05)), T.Affine((3,), shift=-0.2), T.Log((3,))]
    ),
    "conditional_affine": lambda rngs: T.ConditionalAffine((3,), context_size=2),
    "gaussian_padding": lambda rngs: T.GaussianPadding((3,), 2, noise=0.7),
    "gaussian_padding_image": lambda rngs: T.GaussianPadding((2, 2, 1), 1),
    "logit": lambda rngs: T.Inverse(T.Logit((3,), alpha=0.05)),
    "softplus": lambda rngs: T.Inverse(T.Softplus((3,))),
    "stick_breaking": lambda rngs: T.Inverse(T.StickBreaking(3)),
    "supports": lambda rngs: T.Inverse(
        T.Supports(
            ["real", {"name": "below", "high": 2.0}, {"name": "simplex", "size": 2}, "angle"]
        )
    ),
    "angle": lambda rngs: T.Inverse(T.Chain([T.Angle((3,), cut=1.0), T.Logit((3,), alpha=0.0)])),
    "circular_spline": lambda rngs: T.CircularSpline((2, 2), num_bins=4, wrap=False),
    "circular_spline_coupling": lambda rngs: T.CircularSplineCoupling(
        [1, 0, 0], num_bins=4, wrap=False, hidden_sizes=(6,), context_size=2, rngs=rngs
    ),
    "permutation": lambda rngs: T.Permutation.random(5, rngs=rngs),
    "reverse": lambda rngs: T.Reverse(4),
    "rows": lambda rngs: T.Rows(T.Chain([T.Dense(2, rngs=rngs), T.TanhMix((2,))]), 3),
    "reshape": lambda rngs: T.Reshape((2, 2), (4,)),
    "smooth_leaky_relu": lambda rngs: T.SmoothLeakyReLU((4,)),
    "smooth_leaky_relu_image": lambda rngs: T.SmoothLeakyReLU((2, 2, 1), alpha=0.3),
    "tanh_mix": lambda rngs: T.TanhMix((4,)),
    "whiten": lambda rngs: _fitted(T.Whiten(3)),
    "learned_smooth_leaky_relu": lambda rngs: T.LearnedSmoothLeakyReLU((3,)),
    "learned_tanh_mix": lambda rngs: T.LearnedTanhMix((3,)),
    "mixture_cdf": lambda rngs: T.MixtureCDF((2, 2), num_components=3),
    "standardize": lambda rngs: _fitted(T.Standardize((3,))),
    "slope_spline": lambda rngs: T.SlopeSpline((2, 2), num_bins=4, bound=2.0, start="outward"),
    "slope_spline_inverse": lambda rngs: T.Inverse(T.SlopeSpline((3,), num_bins=4, start="left")),
    "spline": lambda rngs: T.RationalQuadraticSpline((2, 2), num_bins=5, bound=2.0),
    "radial": lambda rngs: _fitted(T.Radial(3, num_bins=4)),
    "radial_groups": lambda rngs: T.Radial(4, num_groups=2, num_bins=3),
    "divisive_normalization": lambda rngs: T.DivisiveNormalization(4),
    "divisive_normalization_reverse": lambda rngs: T.DivisiveNormalization(3, reverse=True),
    "dense": lambda rngs: T.Dense(4, rngs=rngs),
    "dense_no_bias": lambda rngs: T.Dense(4, use_bias=False, init="identity", rngs=rngs),
    "triangular_linear": lambda rngs: T.TriangularLinear(3),
    "triangular_linear_upper": lambda rngs: T.TriangularLinear(3, lower=False, use_bias=False),
    "plu": lambda rngs: T.PLU(4, rngs=rngs),
    "plu_identity": lambda rngs: T.PLU(3, init="identity", use_bias=False, rngs=rngs),
    "householder": lambda rngs: T.Householder(4, num_reflections=3, rngs=rngs),
    "householder_identity": lambda rngs: T.Householder(3, init="identity", rngs=rngs),
    "orthogonal_cayley": lambda rngs: T.Orthogonal(3, method="cayley", rngs=rngs),
    "orthogonal_exponential": lambda rngs: T.Orthogonal(3, method="exponential", rngs=rngs),
    "orthogonal_newton_schulz": lambda rngs: T.Orthogonal(3, method="newton_schulz", rngs=rngs),
    "qr": lambda rngs: T.QR(3, rngs=rngs),
    "svd": lambda rngs: T.SVD(3, rngs=rngs),
    "svd_cayley": lambda rngs: T.SVD(3, method="cayley", init="identity", rngs=rngs),
    "batch_norm": lambda rngs: T.BatchNorm((3,)),
    "batch_norm_image": lambda rngs: T.BatchNorm((2, 2, 3)),
    "coupling": lambda rngs: T.AffineCoupling(
        [0, 1, 1, 0, 0], hidden_sizes=(6,), context_size=2, rngs=rngs
    ),
    "coupling_bounded": lambda rngs: T.AffineCoupling(
        [0, 1, 1, 0], hidden_sizes=(6,), input_bound=0.5, rngs=rngs
    ),
    "coupling_shared": lambda rngs: T.AffineCoupling(
        [0, 1, 0], hidden_sizes=(6,), scale_activation="shared", rngs=rngs
    ),
    "coupling_image": lambda rngs: T.AffineCoupling(
        [[0, 1], [0, 1]], hidden_sizes=(6, 5), rngs=rngs
    ),
    "checkerboard_coupling": lambda rngs: T.CheckerboardCoupling(
        (3, 2, 1), hidden_channels=3, num_blocks=1, context_size=2, rngs=rngs
    ),
    "channel_coupling": lambda rngs: T.ChannelCoupling(
        (2, 2, 3), parity=1, hidden_channels=3, num_blocks=1, rngs=rngs
    ),
    "bounded_channel_coupling": lambda rngs: T.ChannelCoupling(
        (2, 2, 3), hidden_channels=3, num_blocks=1, input_bound=0.5, rngs=rngs
    ),
    "channel_spline_coupling": lambda rngs: T.ChannelSplineCoupling(
        (2, 2, 3), num_bins=3, hidden_channels=3, num_blocks=1, context_size=2, rngs=rngs
    ),
    "act_norm": lambda rngs: T.ActNorm((2, 2, 3)),
    "squeeze": lambda rngs: T.Squeeze((2, 4, 1)),
    "parallel_multiscale_colour": lambda rngs: T.ParallelMultiscale(
        (4, 2, 2), num_bins=4, context_size=2, rngs=rngs, **MULTISCALE
    ),
    "parallel_multiscale_logistics": lambda rngs: T.ParallelMultiscale(
        (2, 2, 2), num_bins=4, num_components=2, context_size=2, rngs=rngs, **MULTISCALE
    ),
    "factor_out": lambda rngs: T.FactorOut((2, 1, 3), T.TanhMix((2, 1, 1))),
    "transformer_autoregressive": lambda rngs: T.TransformerAutoregressive(
        4, num_tokens=2, width=4, num_layers=1, num_heads=2, context_size=2, rngs=rngs
    ),
    "transformer_autoregressive_fixed_point": lambda rngs: T.TransformerAutoregressive(
        3, num_tokens=3, width=4, num_heads=1, inverse_method="fixed_point", rngs=rngs
    ),
    "conv1x1": lambda rngs: T.Invertible1x1Conv((2, 2, 3), use_bias=True, rngs=rngs),
    "periodic_conv": lambda rngs: T.PeriodicConv((4, 5, 2), rngs=rngs),
    "periodic_conv_even": lambda rngs: T.PeriodicConv((4, 3, 2), kernel_size=(2, 3), rngs=rngs),
    "periodic_conv_whole": lambda rngs: T.PeriodicConv((3, 4, 2), kernel_size=(3, 4), rngs=rngs),
    "zero_padded_conv": lambda rngs: T.ZeroPaddedConv((4, 3, 2), rngs=rngs),
    "masked_conv": lambda rngs: T.MaskedConv((3, 3, 2), rngs=rngs),
    "emerging_conv": lambda rngs: T.emerging_conv((3, 2, 2), rngs=rngs),
    "triangular": lambda rngs: _fitted(T.Triangular(3)),
    "triangular_features": lambda rngs: T.Triangular(3, context_size=2),
    "triangular_classes": lambda rngs: T.Triangular(3, context_size=4, per_class=True),
    "masked_autoregressive": lambda rngs: T.MaskedAutoregressive(4, hidden_sizes=(9,), rngs=rngs),
    "masked_autoregressive_bounded": lambda rngs: T.MaskedAutoregressive(
        4, hidden_sizes=(9,), input_bound=0.5, rngs=rngs
    ),
    "masked_autoregressive_context": lambda rngs: T.MaskedAutoregressive(
        4, hidden_sizes=(9, 9), residual=True, degrees="random", context_size=2, rngs=rngs
    ),
    "masked_autoregressive_fixed_point": lambda rngs: T.MaskedAutoregressive(
        4, hidden_sizes=(9, 7), activation="tanh", inverse_method="fixed_point", rngs=rngs
    ),
    "inverse_autoregressive": lambda rngs: T.Inverse(
        T.MaskedAutoregressive(3, hidden_sizes=(6,), rngs=rngs)
    ),
    "mixture_autoregressive": lambda rngs: T.MixtureAutoregressive(
        3, num_components=3, hidden_sizes=(6,), context_size=2, rngs=rngs
    ),
    "spline_coupling": lambda rngs: T.SplineCoupling(
        [0, 1, 1, 0, 0], num_bins=4, hidden_sizes=(6, 6), residual=True, context_size=2, rngs=rngs
    ),
    "spline_coupling_kept": lambda rngs: T.SplineCoupling(
        [1, 0, 1], num_bins=3, hidden_sizes=(6,), map_kept=True, rngs=rngs
    ),
    "spline_autoregressive": lambda rngs: T.SplineAutoregressive(
        3, num_bins=4, hidden_sizes=(6, 6), residual=True, context_size=2, rngs=rngs
    ),
    "spline_autoregressive_fixed_point": lambda rngs: T.SplineAutoregressive(
        4, num_bins=3, hidden_sizes=(9,), inverse_method="fixed_point", rngs=rngs
    ),
    "neural_autoregressive": lambda rngs: T.NeuralAutoregressive(
        3, num_units=3, hidden_sizes=(6,), context_size=2, rngs=rngs
    ),
    "planar": lambda rngs: T.Planar(3, context_size=2, rngs=rngs),
    "planar_inverse": lambda rngs: T.Inverse(T.Planar(3, rngs=rngs)),
    "radial_flow": lambda rngs: T.RadialFlow(3, context_size=2, rngs=rngs),
    "sylvester": lambda rngs: T.Sylvester(4, rank=3, context_size=2, rngs=rngs),
    "sylvester_inverse": lambda rngs: T.Inverse(T.Sylvester(3, num_reflections=2, rngs=rngs)),
    "block_autoregressive": lambda rngs: T.BlockAutoregressive(
        3, hidden_units=(3, 2), context_size=2, rngs=rngs
    ),
    "residual_block": lambda rngs: T.ResidualBlock(
        3, hidden_sizes=(6, 5), context_size=2, rngs=rngs
    ),
    "continuous_flow": lambda rngs: T.ContinuousFlow(
        3, hidden_sizes=(6,), tolerance=1e-11, context_size=2, rngs=rngs
    ),
    "chain": lambda rngs: T.Chain(
        [T.Dense(3, rngs=rngs), T.SmoothLeakyReLU((3,)), T.Dense(3, rngs=rngs), T.Reverse(3)]
    ),
    "stack": lambda rngs: T.Stack(
        [T.Chain([T.SmoothLeakyReLU((3,)), T.Dense(3, rngs=rngs)]) for _ in range(3)]
    ),
}
