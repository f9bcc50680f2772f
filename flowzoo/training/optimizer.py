"""From `config.optimizer` to an optax transformation."""

from collections.abc import Callable, Container, Mapping, Sequence
import re

import jax
import optax

from flowzoo.numerics.named_arrays import leaf_path
from flowzoo.relative import (
    from_perturbations,
    limit_relative_change,
    scale_by_relative_gradient,
    scale_by_relative_muon,
    to_perturbations,
)
from flowzoo.relative.muon import with_rest
from flowzoo.relative.per_matrix import selected
from flowzoo.training.config_checks import GRADIENTS

# Of dense layers, with Adam for everything else; the first two in multiplicative coordinates.
MULTIPLICATIVE = ("relative_muon", "relative_adam")
DENSE = (*MULTIPLICATIVE, "muon")
LAYOUT = "out_in"


def make_schedule(config, num_steps: int) -> optax.Schedule:
    """The learning rate as a function of the step.

    Args:
      config: `config.optimizer`.
      num_steps: steps of the whole run, over which a cosine goes to zero.
    """
    rate, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "constant":
        schedule = optax.constant_schedule(rate)
    else:
        schedule = optax.cosine_decay_schedule(rate, max(1, num_steps - warmup))
    if warmup == 0:
        return schedule
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), schedule], [warmup])


def gradient_rule(config) -> str:
    """The gradient rule of the dense layers, one of `flowzoo.relative.RULES`.

    Args:
      config: the whole configuration; its `gradient` and `optimizer.name` decide.

    Raises:
      ValueError: if an optimizer in multiplicative coordinates is to follow the transposed rule.
    """
    if config.optimizer.name not in MULTIPLICATIVE:
        return GRADIENTS[config.gradient]
    if config.gradient == "transposed":
        raise ValueError(
            f"config.optimizer.name is {config.optimizer.name!r}, which multiplies W from the "
            "left, but config.gradient is 'transposed', the gradient of a factor on the right: "
            "choose config.gradient=relative."
        )
    return "multiplicative" if config.gradient == "relative" else GRADIENTS[config.gradient]


def make_optimizer(
    config,
    num_steps: int,
    dense_weights: Sequence[str] = (),
    *,
    rule: str = "ordinary",
    log_det_counts: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """The optimizer: [relative →] clip → L2 → `name` → weight decay → −rate [→ limit].

    Args:
      config: `config.optimizer`.
      num_steps: steps of the whole run.
      dense_weights: the paths of the dense layers' weights.
      rule: the gradient rule of the dense layers, from `gradient_rule`: it says what is still to be
        done to their gradients here.
      log_det_counts: for the rule `data_terms`, whose gradients lack the log-determinants: how
        often, and with which sign, that of each layer is in the likelihood. A layer that is used
        backwards counts negatively, and the relative gradient of its inverse is its transposed one.

    Raises:
      ValueError: if the optimizer is one for dense layers and there are none.
    """
    dense, multiplicative = list(dense_weights), config.name in MULTIPLICATIVE
    if config.name in DENSE and not dense:
        raise ValueError(
            f"config.optimizer.name is {config.name!r}, which is for dense layers, but this model "
            "has none: choose config.optimizer.name=adam."
        )
    steps = []
    for path in dense if rule == "data_terms" or multiplicative else ():
        count = log_det_counts[path] if rule == "data_terms" else 0.0
        if not multiplicative:
            side = "relative" if count > 0 else "transposed"
            steps.append(
                scale_by_relative_gradient(path, layout=LAYOUT, variant=side, add_log_det=count)
            )
        elif rule != "multiplicative":
            steps.append(to_perturbations(path, layout=LAYOUT, add_log_det=count))
    if config.clip_norm is not None:
        steps.append(optax.clip_by_global_norm(config.clip_norm))
    decayed = _decayed(config.decay_pattern)
    if config.l2:
        if multiplicative and any(re.search(config.decay_pattern, path) for path in dense):
            raise ValueError(
                f"config.optimizer.l2 adds to the gradient of a dense layer, which "
                f"{config.name} sees in other coordinates: choose config.optimizer.weight_decay."
            )
        steps.append(optax.add_decayed_weights(config.l2, decayed))
    steps += _steps(config, dense)
    if config.weight_decay:
        steps.append(optax.add_decayed_weights(config.weight_decay, decayed))
    if config.dense_learning_rate is not None:
        factor = optax.scale(config.dense_learning_rate / config.learning_rate)
        faster = selected(dense) if multiplicative else _named(dense)
        steps.append(optax.masked(factor, faster))
    steps.append(optax.scale_by_learning_rate(make_schedule(config, num_steps)))
    if config.trust_region is not None and dense:
        steps.append(limit_relative_change(dense, config.trust_region))
    return optax.chain(*steps)


def _steps(config, dense: list[str]) -> list[optax.GradientTransformation]:
    """What `config.name` does to the gradients."""
    if config.name == "adam":
        return [optax.scale_by_adam()]
    if config.name == "sgd":
        return [optax.trace(config.momentum)]
    if config.name == "relative_adam":
        return [optax.scale_by_adam(), from_perturbations(dense, layout=LAYOUT)]
    if config.name == "relative_muon":
        muon = scale_by_relative_muon(
            dense,
            layout=LAYOUT,
            momentum=config.momentum,
            rank=config.rank,
            gradients="multiplicative",
        )
        return [with_rest(muon, optax.scale_by_adam(), selected(dense))]
    muon = optax.contrib.scale_by_muon(beta=config.momentum, weight_dimension_numbers=_matrices)
    return [with_rest(muon, optax.scale_by_adam(), _named(dense))]


def _matrices(updates):
    """The axes of `[..., D, D]`, as optax's Muon wants to be told of them."""
    return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(-1, -2), updates)


def _decayed(pattern: str):
    return _where(lambda name: bool(re.search(pattern, name)))


def _named(names: Container[str]):
    return _where(lambda name: name in names)


def _where(test: Callable[[str], bool]):
    def mask(params):
        def matches(keys, _):
            return test("/".join(leaf_path(keys)))

        return jax.tree_util.tree_map_with_path(matches, params)

    return mask
