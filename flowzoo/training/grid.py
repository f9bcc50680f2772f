"""Grids of configs: every combination of the values that some keys are to take."""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

from ml_collections import config_dict

from flowzoo import zoo
from flowzoo.numerics.names import did_you_mean
from flowzoo.training.config import flatten, overridden, parse_value

# The options that the relative-gradient paper searched, arXiv 2006.15090, appendix H.3. The
# published text has lost the values; these are ours.
PAPER = {
    "nonlinearity": ("smooth_leaky_relu", "tanh_mix"),
    "num_layers": (2, 5, 10),
    "learning_rate": (1e-4, 1e-3),
    "batch_size": (10, 100),
    "base": ("standard_normal", "hyperbolic_secant"),
    "use_bias": (True, False),
}
GRIDS = {"paper": PAPER}


def resolve(config: config_dict.ConfigDict, key: str) -> str:
    """The full path of a key, which may be given by its last part if no other ends the same.

    Options of the config's model that the config leaves at their defaults are known too.

    Raises:
      ValueError: if there is no such key, or more than one.
    """
    # Of a map both the record and its options can be swept.
    model = [f"model.{name}" for name in zoo.defaults(config.model.name)]
    known = sorted({*flatten(config.to_dict()), *model})
    if key in known:
        return key
    ends = [path for path in known if path.rpartition(".")[2] == key]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise ValueError(f"--sweep.{key} may mean {' or '.join(ends)}: write the whole key.")
    ends = {path.rpartition(".")[2] for path in known}
    raise ValueError(f"--sweep.{key} is no key of the config.{did_you_mean(key, {*known, *ends})}")


def parse_values(text: str) -> list[Any]:
    """Reads `1e-4,1e-3`, `relu,tanh`, `(100,),(100,100)` or `true,false` as a list of values.

    Raises:
      ValueError: if there is none.
    """
    # The commas inside brackets belong to a value.
    pieces, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    if not all(piece.strip() for piece in pieces):
        raise ValueError(f"{text!r} is no list of values: expected them separated by commas.")
    return [parse_value(piece.strip(), None) for piece in pieces]


def combinations(
    config: config_dict.ConfigDict, grid: Mapping[str, Sequence[Any]]
) -> dict[str, config_dict.ConfigDict]:
    """The configs of a grid, by their differences, `learning_rate=0.001,num_layers=2`.

    Args:
      config: what all of them start from.
      grid: the values of each key.

    Raises:
      ValueError: if a key is unknown or named twice, or a value cannot be meant.
    """
    paths = {key: resolve(config, key) for key in grid}
    if len(set(paths.values())) < len(paths):
        raise ValueError(f"A key is swept twice: {', '.join(paths)}.")
    configs = {}
    for values in itertools.product(*grid.values()):
        names = (path.rpartition(".")[2] for path in paths.values())
        label = ",".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        label = label.replace(" ", "").replace("/", "-")
        try:
            configs[label] = overridden(config, dict(zip(paths.values(), values, strict=True)))
        except ValueError as error:
            raise ValueError(f"The sweep's {label}: {error}") from None
    return configs
