"""The range of every key of the training configuration outside `model`."""

from collections.abc import Callable
import math
import numbers
import re
from typing import Any, NamedTuple

from flowzoo.data.symmetries import AUGMENTATIONS
from flowzoo.training.step import OBJECTIVES, PRECISIONS
from flowzoo.transforms.activations import ACTIVATIONS

GRADIENTS = {
    "relative": "relative",
    "transposed": "transposed",
    "ordinary": "ordinary",
    "relative_optax": "data_terms",
}


class Check(NamedTuple):
    """What a value is to be, in words and as a test."""

    expected: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _whole(low: int) -> Check:
    return Check(f"a whole number, at least {low}", lambda v: _is_whole(v) and v >= low)


def _number(expected: str, fits: Callable[[float], bool]) -> Check:
    return Check(expected, lambda v: _is_number(v) and fits(v))


def _one_of(*choices: str) -> Check:
    return Check(f"one of {', '.join(choices)}", lambda v: v in choices)


def _or_none(check: Check) -> Check:
    return Check(f"{check.expected}, or None", lambda v: v is None or check.fits(v))


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError):
        return False
    return True


_POSITIVE = _number("a finite number above 0", lambda v: v > 0)
_NOT_NEGATIVE = _number("a finite number, at least 0", lambda v: v >= 0)
_DECAY = _number("a number from 0 to below 1", lambda v: 0 <= v < 1)
_TEXT = Check("text", lambda v: isinstance(v, str))
_WORDS = Check("some text", lambda v: isinstance(v, str) and v != "")
_FLAG = Check("True or False", lambda v: isinstance(v, bool))

# The range of every key outside `model`, whose options the recipes check.
CHECKS = {
    "name": Check(
        "a name such as digits/maf5, of letters, digits and any of _ - . = + ,",
        lambda v: isinstance(v, str) and bool(re.fullmatch(r"[\w=+,-][\w.=+,/-]*", v)),
    ),
    "title": _WORDS,
    "dataset.name": Check("the name of a dataset", _WORDS.fits),
    "dataset.data_dir": _TEXT,
    "dataset.limit": _whole(0),
    "dataset.augmentation": _one_of("default", *AUGMENTATIONS),
    "conditional": _FLAG,
    "label_dropout": _DECAY,
    "noise_std": _NOT_NEGATIVE,
    "num_parameters": _whole(0),
    "gradient": _one_of(*GRADIENTS),
    "objective": _one_of(*OBJECTIVES),
    "optimizer.name": _one_of("adam", "sgd", "relative_muon", "relative_adam", "muon"),
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.dense_learning_rate": _or_none(_NOT_NEGATIVE),
    "optimizer.momentum": _DECAY,
    "optimizer.rank": _or_none(_whole(1)),
    "optimizer.schedule": _one_of("constant", "cosine"),
    "optimizer.warmup_steps": _whole(0),
    "optimizer.clip_norm": _or_none(_POSITIVE),
    "optimizer.trust_region": _or_none(
        _number("a number between 0 and 1, both excluded", lambda v: 0 < v < 1)
    ),
    "optimizer.l2": _NOT_NEGATIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.decay_pattern": Check("a regular expression", _is_pattern),
    "parameter_average": _DECAY,
    "batch_size": _whole(1),
    "mesh.data": _whole(0),
    "mesh.model": _whole(1),
    "matmul_precision": _one_of(*PRECISIONS),
    "activations": _one_of(*ACTIVATIONS),
    "start_from": _TEXT,
    "num_epochs": _whole(0),
    "eval_every_epochs": _whole(1),
    "patience": _whole(1),
    # JAX would take a larger one modulo 2^32.
    "seed": Check("a whole number from 0 to 2^32 - 1", lambda v: _is_whole(v) and 0 <= v < 2**32),
    "checkpoint_seconds": _NOT_NEGATIVE,
}
