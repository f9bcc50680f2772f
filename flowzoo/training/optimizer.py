"""From `config.optimizer` to an optax transformation."""

from collections.abc import Callable, Container, Mapping
import re
import types

import jax
import optax

from flowzoo.relative import limit_relative_change, scale_by_relative_gradient


def make_schedule(config, num_steps: int) -> optax.Schedule:
    """The learning rate as a function of the step.

    Args:
      config: `config.optimizer`.
      num_steps: steps of the whole run, over which a cosine goes to zero.

    Raises:
      ValueError: if the schedule is unknown.
    """
    rate, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "constant":
        schedule = optax.constant_schedule(rate)
    elif config.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(rate, max(1, num_steps - warmup))
    else:
        raise ValueError(
            f"config.optimizer.schedule is {config.schedule!r}, expected constant or cosine."
        )
    if warmup == 0:
        return schedule
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), schedule], [warmup])


def make_optimizer(
    config,
    num_steps: int,
    log_det_counts: Mapping[str, float] = types.MappingProxyType({}),
    *,
    data_terms: bool = False,
) -> optax.GradientTransformation:
    """The optimizer: [relative →] clip → L2 → Adam or momentum → weight decay → −rate [→ limit].

    Args:
      config: `config.optimizer`.
      num_steps: steps of the whole run.
      log_det_counts: the paths of the dense layers' weights, and how often the log-determinant of
        each counts.
      data_terms: for `config.gradient = "relative_optax"`: the gradients of the dense layers hold
        data terms only and are made relative here.

    Raises:
      ValueError: if the optimizer or the schedule is unknown, or the trust region not in (0, 1).
    """
    steps = [
        scale_by_relative_gradient(path, layout="out_in", add_log_det=count)
        for path, count in log_det_counts.items()
        if data_terms
    ]
    if config.clip_norm is not None:
        steps.append(optax.clip_by_global_norm(config.clip_norm))
    decayed = _decayed(config.decay_pattern)
    if config.l2:
        steps.append(optax.add_decayed_weights(config.l2, decayed))
    if config.name == "adam":
        steps.append(optax.scale_by_adam())
    elif config.name == "sgd":
        steps.append(optax.trace(config.momentum))
    else:
        raise ValueError(f"config.optimizer.name is {config.name!r}, expected adam or sgd.")
    if config.weight_decay:
        steps.append(optax.add_decayed_weights(config.weight_decay, decayed))
    if config.dense_scale != 1:
        dense = optax.masked(optax.scale(config.dense_scale), _named(log_det_counts))
        steps.append(dense)
    steps.append(optax.scale_by_learning_rate(make_schedule(config, num_steps)))
    if config.trust_region is not None and log_det_counts:
        steps.append(limit_relative_change(list(log_det_counts), config.trust_region))
    return optax.chain(*steps)


def _decayed(pattern: str):
    return _where(lambda name: bool(re.search(pattern, name)))


def _named(names: Container[str]):
    return _where(lambda name: name in names)


def _where(test: Callable[[str], bool]):
    def mask(params):
        def matches(path, _):
            keys = path[:-1] if str(path[-1]) == ".value" else path
            return test(jax.tree_util.keystr(keys, simple=True, separator="/"))

        return jax.tree_util.tree_map_with_path(matches, params)

    return mask
