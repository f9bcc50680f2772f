"""Invertible maps with log-determinants; forward is data → latent."""

from flowzoo.transforms.affine import Affine, Logit
from flowzoo.transforms.batch_norm import BatchNorm, with_batch_statistics
from flowzoo.transforms.coupling import AffineCoupling, alternating_mask
from flowzoo.transforms.dense import Dense
from flowzoo.transforms.elementwise import SmoothLeakyReLU, TanhMix
from flowzoo.transforms.permutation import Permutation, Reverse
from flowzoo.transforms.transform import Chain, Constant, Inverse, Reshape, Transform
from flowzoo.transforms.whiten import Whiten

__all__ = [
    "Affine",
    "AffineCoupling",
    "BatchNorm",
    "Chain",
    "Constant",
    "Dense",
    "Inverse",
    "Logit",
    "Permutation",
    "Reshape",
    "Reverse",
    "SmoothLeakyReLU",
    "TanhMix",
    "Transform",
    "Whiten",
    "alternating_mask",
    "with_batch_statistics",
]
