"""Invertible maps with log-determinants; forward is data → latent."""

from flowzoo.numerics.variables import Constant
from flowzoo.transforms.autoregressive.block_autoregressive import BlockAutoregressive
from flowzoo.transforms.autoregressive.masked_autoregressive import MaskedAutoregressive
from flowzoo.transforms.autoregressive.mixture_autoregressive import MixtureAutoregressive
from flowzoo.transforms.autoregressive.neural_autoregressive import NeuralAutoregressive
from flowzoo.transforms.autoregressive.spline_autoregressive import SplineAutoregressive
from flowzoo.transforms.autoregressive.transformer_autoregressive import TransformerAutoregressive
from flowzoo.transforms.continuous.continuous_flow import ContinuousFlow
from flowzoo.transforms.convolution.conv1x1 import Invertible1x1Conv
from flowzoo.transforms.convolution.masked import MaskedConv, emerging_conv
from flowzoo.transforms.convolution.periodic import PeriodicConv
from flowzoo.transforms.convolution.zero_padded import ZeroPaddedConv
from flowzoo.transforms.coupling.affine_coupling import AffineCoupling
from flowzoo.transforms.coupling.mask import alternating_mask
from flowzoo.transforms.coupling.spline_coupling import SplineCoupling
from flowzoo.transforms.elementwise.affine import Affine, ConditionalAffine, Standardize
from flowzoo.transforms.elementwise.mixture_cdf import MixtureCDF
from flowzoo.transforms.elementwise.nonlinearities import (
    LearnedSmoothLeakyReLU,
    LearnedTanhMix,
    SmoothLeakyReLU,
    TanhMix,
)
from flowzoo.transforms.elementwise.slope_spline import SlopeSpline
from flowzoo.transforms.elementwise.spline import RationalQuadraticSpline
from flowzoo.transforms.elementwise.units import Arcsinh, Units
from flowzoo.transforms.estimates import with_log_det_estimates
from flowzoo.transforms.image.couplings import (
    ChannelCoupling,
    ChannelSplineCoupling,
    CheckerboardCoupling,
)
from flowzoo.transforms.image.multiscale import FactorOut, Squeeze
from flowzoo.transforms.image.parallel_multiscale import ParallelMultiscale
from flowzoo.transforms.linear.dense import Dense
from flowzoo.transforms.linear.householder import Householder
from flowzoo.transforms.linear.orthogonal import Orthogonal
from flowzoo.transforms.linear.permutation import Permutation, Reverse
from flowzoo.transforms.linear.plu import PLU
from flowzoo.transforms.linear.svd import QR, SVD
from flowzoo.transforms.linear.triangular import Triangular
from flowzoo.transforms.linear.triangular_linear import TriangularLinear
from flowzoo.transforms.linear.whiten import Whiten
from flowzoo.transforms.modes import guided, with_modes
from flowzoo.transforms.normalization.act_norm import ActNorm
from flowzoo.transforms.normalization.batch_norm import BatchNorm
from flowzoo.transforms.normalization.divisive import DivisiveNormalization
from flowzoo.transforms.normalization.radial import Radial
from flowzoo.transforms.residual.contraction import ResidualBlock
from flowzoo.transforms.residual.planar import Planar, RadialFlow
from flowzoo.transforms.residual.sylvester import Sylvester
from flowzoo.transforms.rows import Rows
from flowzoo.transforms.stack import Stack
from flowzoo.transforms.support.angle import Angle
from flowzoo.transforms.support.circular_spline import CircularSpline, CircularSplineCoupling
from flowzoo.transforms.support.gaussian_padding import (
    GaussianPadding,
    importance_weighted_log_prob,
    with_padding_key,
)
from flowzoo.transforms.support.log import Log
from flowzoo.transforms.support.logit import Logit
from flowzoo.transforms.support.softplus import Softplus
from flowzoo.transforms.support.stick_breaking import StickBreaking
from flowzoo.transforms.support.supports import Supports
from flowzoo.transforms.transform import Chain, Inverse, Reshape, Transform

__all__ = [
    "ActNorm",
    "Affine",
    "AffineCoupling",
    "Angle",
    "Arcsinh",
    "BatchNorm",
    "BlockAutoregressive",
    "Chain",
    "ChannelCoupling",
    "ChannelSplineCoupling",
    "CheckerboardCoupling",
    "CircularSpline",
    "CircularSplineCoupling",
    "ConditionalAffine",
    "Constant",
    "ContinuousFlow",
    "Dense",
    "DivisiveNormalization",
    "FactorOut",
    "GaussianPadding",
    "Householder",
    "Inverse",
    "Invertible1x1Conv",
    "LearnedSmoothLeakyReLU",
    "LearnedTanhMix",
    "Log",
    "Logit",
    "MaskedAutoregressive",
    "MaskedConv",
    "MixtureAutoregressive",
    "MixtureCDF",
    "NeuralAutoregressive",
    "Orthogonal",
    "PLU",
    "ParallelMultiscale",
    "PeriodicConv",
    "Permutation",
    "Planar",
    "QR",
    "Radial",
    "RadialFlow",
    "RationalQuadraticSpline",
    "Reshape",
    "ResidualBlock",
    "Reverse",
    "Rows",
    "SVD",
    "SlopeSpline",
    "SmoothLeakyReLU",
    "Softplus",
    "SplineAutoregressive",
    "SplineCoupling",
    "Squeeze",
    "Stack",
    "Standardize",
    "StickBreaking",
    "Supports",
    "Sylvester",
    "TanhMix",
    "Transform",
    "TransformerAutoregressive",
    "Triangular",
    "TriangularLinear",
    "Units",
    "Whiten",
    "ZeroPaddedConv",
    "alternating_mask",
    "emerging_conv",
    "guided",
    "importance_weighted_log_prob",
    "with_log_det_estimates",
    "with_modes",
    "with_padding_key",
]
