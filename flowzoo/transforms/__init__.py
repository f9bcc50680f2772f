"""Invertible maps with log-determinants; forward is data → latent."""

from flowzoo.transforms.affine import Affine, ConditionalAffine, Logit
from flowzoo.transforms.batch_norm import BatchNorm, with_batch_statistics
from flowzoo.transforms.conv1x1 import Invertible1x1Conv
from flowzoo.transforms.coupling import AffineCoupling, alternating_mask
from flowzoo.transforms.dense import Dense
from flowzoo.transforms.divisive import DivisiveNormalization
from flowzoo.transforms.elementwise import (
    LearnedSmoothLeakyReLU,
    LearnedTanhMix,
    SmoothLeakyReLU,
    TanhMix,
)
from flowzoo.transforms.image import ChannelCoupling, CheckerboardCoupling, FactorOut, Squeeze
from flowzoo.transforms.masked_autoregressive import MaskedAutoregressive
from flowzoo.transforms.mixture_autoregressive import MixtureAutoregressive
from flowzoo.transforms.mixture_cdf import MixtureCDF
from flowzoo.transforms.permutation import Permutation, Reverse
from flowzoo.transforms.radial import Radial
from flowzoo.transforms.spline import RationalQuadraticSpline
from flowzoo.transforms.stack import Stack
from flowzoo.transforms.transform import Chain, Constant, Inverse, Reshape, Transform
from flowzoo.transforms.triangular import Triangular
from flowzoo.transforms.whiten import Standardize, Whiten

__all__ = [
    "Affine",
    "AffineCoupling",
    "BatchNorm",
    "Chain",
    "ChannelCoupling",
    "CheckerboardCoupling",
    "ConditionalAffine",
    "Constant",
    "Dense",
    "DivisiveNormalization",
    "FactorOut",
    "Inverse",
    "Invertible1x1Conv",
    "LearnedSmoothLeakyReLU",
    "LearnedTanhMix",
    "Logit",
    "MaskedAutoregressive",
    "MixtureAutoregressive",
    "MixtureCDF",
    "Permutation",
    "Radial",
    "RationalQuadraticSpline",
    "Reshape",
    "Reverse",
    "SmoothLeakyReLU",
    "Squeeze",
    "Stack",
    "Standardize",
    "TanhMix",
    "Transform",
    "Triangular",
    "Whiten",
    "alternating_mask",
    "with_batch_statistics",
]
