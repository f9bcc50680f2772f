"""Invertible maps with log-determinants; forward is data → latent."""

from flowzoo.transforms.affine import Affine, Logit
from flowzoo.transforms.batch_norm import BatchNorm, with_batch_statistics
from flowzoo.transforms.dense import Dense
from flowzoo.transforms.elementwise import SmoothLeakyReLU, TanhMix
from flowzoo.transforms.permutation import Permutation, Reverse
from flowzoo.transforms.transform import Chain, Constant, Inverse, Reshape, Transform

__all__ = [
    "Affine",
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
    "with_batch_statistics",
]
