"""Evaluating and training Real NVP, against other libraries.

    python -m flowzoo.benchmarks.coupling [--dim=63] [--batch=1000] [--libraries=zuko,nflows]

Real NVP of 10 layers, float32, on the CPU: log_prob and one Adam step of `--batch` points. The
layers of flowzoo have a tanh scale network and a ReLU shift network of one hidden layer of
`--hidden` units each, without batch norm; the peers' have one ReLU network for both, of the width
that gives the flow as many parameters. All in one process, taking turns; a library that cannot be
imported is left out.
"""

import functools
import os

from absl import app, flags
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.benchmarks import peers
from flowzoo.zoo.parameters import num_parameters
from flowzoo.zoo.real_nvp import real_nvp

LAYERS = 10

DIM = flags.DEFINE_integer("dim", 63, "Dimension of the data.")
HIDDEN = flags.DEFINE_integer("hidden", 512, "Hidden units of each of flowzoo's networks.")
BATCH = flags.DEFINE_integer("batch", 1000, "Points in one call.")
LIBRARIES = flags.DEFINE_list(
    "libraries", ["flowjax", "zuko", "nflows", "normflows"], "Libraries to compare with."
)
SECONDS = flags.DEFINE_float("max_seconds", 30.0, "Time after which a program is called no more.")


def flowzoo_flow(dim: int, hidden: int):
    return real_nvp(
        (dim,), num_layers=LAYERS, hidden_sizes=(hidden,), batch_norm=False, rngs=nnx.Rngs(0)
    )


def peer_width(dim: int, hidden: int) -> int:
    """The width at which one network for scale and shift has as many parameters as two."""
    target = num_parameters(nnx.eval_shape(lambda: flowzoo_flow(dim, hidden))) / LAYERS
    return round((target - dim) / (dim / 2 + 1 + dim))


def flowzoo_model(dim: int, hidden: int) -> peers.JaxModel:
    graph, parameters, rest = nnx.split(flowzoo_flow(dim, hidden), nnx.Param, ...)
    return peers.JaxModel(
        parameters,
        lambda parameters: nnx.merge(graph, parameters, rest),
        lambda flow, x: flow.log_prob(x),
        lambda flow, key, n: flow.sample(key, (n,)),
    )


def flowjax_model(dim: int, hidden: int) -> peers.JaxModel:
    import equinox as eqx
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow
    import paramax

    flow = coupling_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(dim)),
        flow_layers=LAYERS,
        nn_width=peer_width(dim, hidden),
    )
    parameters, static = eqx.partition(
        flow,
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )
    return peers.JaxModel(
        parameters,
        lambda parameters: paramax.unwrap(eqx.combine(parameters, static)),
        lambda flow, x: flow.log_prob(x),
        lambda flow, key, n: flow.sample(key, (n,)),
    )


def zuko_model(dim: int, hidden: int) -> peers.TorchModel:
    import zuko

    # Named after additive couplings, but its default couplings are affine.
    width = peer_width(dim, hidden)
    flow = zuko.flows.NICE(dim, transforms=LAYERS, hidden_features=(width,))
    return peers.TorchModel(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def nflows_model(dim: int, hidden: int) -> peers.TorchModel:
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import MLP
    import torch

    class Network(MLP):
        def forward(self, inputs, context=None):
            return super().forward(inputs)

    def network(num_inputs, num_outputs):
        return Network((num_inputs,), (num_outputs,), [peer_width(dim, hidden)])

    layers = [
        transforms.AffineCouplingTransform((torch.arange(dim) + i) % 2, network)
        for i in range(LAYERS)
    ]
    flow = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([dim]))
    return peers.TorchModel(flow, flow.log_prob, flow.sample)


def normflows_model(dim: int, hidden: int) -> peers.TorchModel:
    import normflows as nf

    layers = []
    for _ in range(LAYERS):
        network = nf.nets.MLP([dim - dim // 2, peer_width(dim, hidden), 2 * (dim // 2)])
        layers += [nf.flows.AffineCouplingBlock(network), nf.flows.Permute(dim, mode="shuffle")]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)
    return peers.TorchModel(flow, flow.log_prob, lambda n: flow.sample(n)[0])


BUILDERS = {
    "flowzoo": flowzoo_model,
    "flowjax": flowjax_model,
    "zuko": zuko_model,
    "nflows": nflows_model,
    "normflows": normflows_model,
}


def main(argv):
    del argv
    # Otherwise PyTorch's idle threads would keep the cores busy during the next program's turn.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    dim, batch = DIM.value, BATCH.value
    builders = {name: BUILDERS[name] for name in ["flowzoo", *LIBRARIES.value]}
    print(f"{peers.use_all_cores()} cores, {jax.devices()[0].device_kind}")
    models = peers.build_models(builders, dim, HIDDEN.value)
    for name, model in models.items():
        peers.check_density(name, model, dim)
    x = np.random.default_rng(1).normal(size=(batch, dim)).astype(np.float32)
    for what in ("log_prob", "train_step"):
        peers.compare(
            f"{what} of {batch} points, D = {dim}",
            {name: functools.partial(getattr(m, what), x) for name, m in models.items()},
            reference="flowzoo",
            repeats=20,
            max_seconds=SECONDS.value,
        )


if __name__ == "__main__":
    app.run(main)
