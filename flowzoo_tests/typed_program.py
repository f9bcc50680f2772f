"""A reader's program, for the type checker: what the public names take and return.

It is not run. Each `type: ignore` marks a mistake that the checker has to find: an ignore that is
not needed is an error too.
"""

from typing import assert_type

from flax import nnx
import jax
import numpy as np
import optax

import flowzoo
from flowzoo import bases, relative, transforms
from flowzoo.data import Dataset


def pretrained() -> None:
    flow = flowzoo.load_pretrained("digits_learned")
    assert_type(flow, flowzoo.RawFlow)
    x = flow.sample(jax.random.key(0), (16,))
    assert_type(x, jax.Array)
    assert_type(flow.log_prob(x), jax.Array)
    assert_type(flow.sample_and_log_prob(jax.random.key(0)), tuple[jax.Array, jax.Array])
    flowzoo.save(flow, "flow.safetensors")
    assert_type(flowzoo.load("flow.safetensors"), flowzoo.Flow | flowzoo.RawFlow)
    for entry in flowzoo.list_pretrained():
        assert_type(entry.name, str)
    flowzoo.load_pretrained(3)  # type: ignore[arg-type]


def trained() -> None:
    dataset = flowzoo.load_dataset("toy/moons")
    assert_type(dataset, Dataset)
    flow = flowzoo.fit(dataset.train.x, "maf", num_epochs=3)
    assert_type(flow, flowzoo.RawFlow)
    flowzoo.fit(np.zeros((10, 2)), {"name": "maf", "num_layers": 2}, labels=np.zeros(10, int))
    flowzoo.fit(dataset.train.x, num_epochs="3")  # type: ignore[arg-type]
    flowzoo.fit(dataset.train.x, epochs=3)  # type: ignore[call-arg]


def by_hand() -> None:
    layers = [transforms.Dense(2, rngs=nnx.Rngs(0)), transforms.SmoothLeakyReLU((2,))]
    chain = transforms.Chain(layers)
    flow = flowzoo.Flow(bases.StandardNormal((2,)), chain)
    assert_type(flow.event_shape, tuple[int, ...])
    assert_type(flow.log_prob(jax.numpy.zeros((3, 2))), jax.Array)
    assert_type(transforms.Inverse(chain).latent_shape, tuple[int, ...])
    built = flowzoo.build({"name": "maf"}, (2,), rngs=nnx.Rngs(0))
    assert_type(built, flowzoo.Flow)
    flowzoo.Flow(chain, bases.StandardNormal((2,)))  # type: ignore[arg-type]
    transforms.Chain([bases.StandardNormal((2,))])  # type: ignore[list-item]


def optimizers() -> None:
    scale = flowzoo.scale_by_relative_gradient("kernel", layout="in_out", add_log_det=1.0)
    optax.chain(scale, optax.adam(1e-3))
    assert_type(
        flowzoo.relative_gradient(1e-3, "kernel", layout="in_out"),
        optax.GradientTransformationExtraArgs,
    )
    assert_type(
        relative.relative_muon(0.03, "kernel", layout="in_out"),
        optax.GradientTransformationExtraArgs,
    )
    flowzoo.relative_gradient(1e-3, "kernel", layout="across")  # type: ignore[arg-type]
