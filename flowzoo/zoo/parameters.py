"""Numbers of parameters, and baselines that have as many as another model."""

from collections.abc import Mapping
import functools
import inspect

from flax import nnx
import jax

from flowzoo.context import ContextSpec
from flowzoo.zoo import RECIPES, build

# One unit that sees the context alone and one that sees an input: what a masked network needs.
SMALLEST_WIDTH = 2


def num_parameters(model: nnx.Module) -> int:
    """The number of trained numbers in a model, those under the masks of masked networks included.

    The model may be abstract, as `nnx.eval_shape` returns it.
    """
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def match_parameters(
    config: Mapping,
    event_shape: tuple[int, ...],
    target: int,
    *,
    context: ContextSpec | None = None,
) -> dict:
    """A baseline with as many trained parameters as another model, as closely as a width allows.

    The number of hidden layers is the config's; all get the same width, at least `SMALLEST_WIDTH`.
    Parameters are counted on the built model, without allocating it. Of two widths equally close,
    the smaller is taken.

    Source: Gresele et al., "Relative gradient optimization of the Jacobian term in unsupervised
    deep learning", arXiv 2006.15090, appendix H.3.

    Args:
      config: `name` and options of a recipe that has `hidden_sizes`, as for `flowzoo.build`.
      event_shape: shape of one event.
      target: the number of parameters to come close to.
      context: what the model is to be conditioned on, None for an unconditional one.

    Returns:
      The config with `hidden_sizes` chosen.

    Raises:
      ValueError: if `build` refuses the config, or the recipe has no `hidden_sizes`.

    Example:
      >>> match_parameters({"name": "maf", "hidden_sizes": (512,)}, (8,), 10_000)
      {'name': 'maf', 'hidden_sizes': (79,)}
    """
    config = dict(config)
    _count(config, event_shape, context)
    sizes = inspect.signature(RECIPES[config["name"]]).parameters.get("hidden_sizes")
    if sizes is None:
        raise ValueError(
            f"match_parameters got the model {config['name']!r}, expected one with the option "
            "hidden_sizes."
        )
    depth = len(config.get("hidden_sizes", sizes.default))

    def resized(width: int) -> dict:
        return config | {"hidden_sizes": (width,) * depth}

    @functools.cache
    def count(width: int) -> int:
        return _count(resized(width), event_shape, context)

    low = high = SMALLEST_WIDTH
    while count(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return resized(min((low, high), key=lambda width: abs(count(width) - target)))


def _count(config: dict, event_shape: tuple[int, ...], context: ContextSpec | None) -> int:
    if config.get("degrees") == "random":
        # They need random numbers, which an abstract model has not, and change no shape.
        config = config | {"degrees": "sequential"}
    return num_parameters(
        nnx.eval_shape(lambda: build(config, event_shape, context=context, rngs=nnx.Rngs(0)))
    )
