"""The families beside MAF and the couplings, as each library builds them: as `peer_flows`.

`planar` and `radial` are 16 bends, `bnaf` three networks of two hidden layers of 8 units for each
coordinate. `naf` has five layers with networks of two hidden layers of 512 units: flowzoo's map is
a deep sigmoidal one of 16 units, zuko's a monotonic network of one hidden layer of 16 units that
sees 16 signals. `gaussianization` has five maps of 16 components and four rotations, zuko's of
matrix exponentials and with normal kernels, and no inverse beyond ±10.

`continuous` is one vector field with the same weights, two hidden layers of 64 tanh units, solved
to a tolerance of 1e-5 with exact traces. zuko takes one length of step for a whole batch and has
its gradient by the adjoint equation.

`residual` has eight blocks of two hidden layers of 64 units. flowzoo's log-determinants are exact,
those of normflows a series of 20 exact traces. In `residual_estimated` both are unbiased estimates,
normflows' from series of fewer terms.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo import zoo
from flowzoo.benchmarks.peer_flows import flowjax_model, normflows_model, zuko_model
from flowzoo.benchmarks.peer_models import JaxModel, Model, TorchModel, from_flow
from flowzoo.flow import Flow
from flowzoo.transforms import with_log_det_estimates

BENDS = 16
NAF_LAYERS, NAF_HIDDEN, NAF_UNITS = 5, (512, 512), 16
BNAF_LAYERS, BNAF_UNITS = 3, (8, 8)
MAPS, COMPONENTS = 5, 16
FIELD, TOLERANCE = (64, 64), 1e-5
BLOCKS, BLOCK_HIDDEN = 8, (64, 64)


def flowzoo_of(recipe, dim: int, **options) -> Flow:
    return recipe((dim,), rngs=nnx.Rngs(0), **options)


def flowzoo_continuous(dim: int) -> Flow:
    flow = flowzoo_of(zoo.continuous_flow, dim, hidden_sizes=FIELD, tolerance=TOLERANCE)
    # It starts at zero, and nothing would be to be solved.
    weight = flow.transform.net.output_weight
    weight[...] = jax.random.normal(jax.random.key(1), weight.shape) / FIELD[-1] ** 0.5
    return flow


def flowzoo_residual(dim: int) -> Flow:
    return flowzoo_of(zoo.residual_flow, dim, num_layers=BLOCKS, hidden_sizes=BLOCK_HIDDEN)


def flowjax_planar(dim: int) -> JaxModel:
    from flowjax.distributions import Normal
    from flowjax.flows import planar_flow

    base = Normal(jnp.zeros(dim))
    return flowjax_model(planar_flow(jax.random.key(0), base_dist=base, flow_layers=BENDS))


def flowjax_bnaf(dim: int) -> JaxModel:
    from flowjax.distributions import Normal
    from flowjax.flows import block_neural_autoregressive_flow
    from flowjax.root_finding import elementwise_autoregressive_bisection, root_finder_to_inverter

    # Its default search gives up on untrained networks.
    bisection = functools.partial(
        elementwise_autoregressive_bisection,
        lower=-jnp.full(dim, 10.0),
        upper=jnp.full(dim, 10.0),
    )
    return flowjax_model(
        block_neural_autoregressive_flow(
            jax.random.key(0),
            base_dist=Normal(jnp.zeros(dim)),
            nn_depth=len(BNAF_UNITS),
            nn_block_dim=BNAF_UNITS[0],
            flow_layers=BNAF_LAYERS,
            inverter=root_finder_to_inverter(bisection),
        )
    )


def normflows_bends(dim: int, layer: str) -> TorchModel:
    import normflows as nf

    # Its flows map latents to data; Reverse makes the density the side with a closed form.
    bend = getattr(nf.flows, layer)
    return normflows_model(dim, [nf.flows.Reverse(bend((dim,))) for _ in range(BENDS)])


def normflows_residual(dim: int, **options) -> TorchModel:
    import normflows as nf

    channels = [dim, *BLOCK_HIDDEN, dim]
    return normflows_model(
        dim, [nf.flows.Residual(nf.nets.LipschitzMLP(channels), **options) for _ in range(BLOCKS)]
    )


def random(model: Model) -> Model:
    """Marks a model whose densities are estimates."""
    model.random = True
    return model


def zuko_naf(dim: int) -> TorchModel:
    import zuko

    return zuko_model(
        zuko.flows.NAF(
            dim,
            transforms=NAF_LAYERS,
            signal=NAF_UNITS,
            network=dict(hidden_features=(NAF_UNITS,)),
            hidden_features=NAF_HIDDEN,
        )
    )


def zuko_gaussianization(dim: int) -> TorchModel:
    import zuko

    return zuko_model(zuko.flows.GF(dim, transforms=MAPS, components=COMPONENTS))


def zuko_continuous(dim: int) -> TorchModel:
    import torch
    import zuko

    net = flowzoo_continuous(dim).transform.net
    weights = [*(weight[...].T for weight in net.weights), net.output_weight[...]]
    biases = [bias[...] for bias in (*net.biases, net.output_bias)]
    field = torch.nn.Sequential()
    for weight, bias in zip(weights, biases, strict=True):
        if len(field):
            field.append(torch.nn.Tanh())
        linear = torch.nn.Linear(*weight.shape[::-1])
        linear.weight.data = torch.tensor(np.array(weight))
        linear.bias.data = torch.tensor(np.array(bias))
        field.append(linear)

    def velocity(t, x):
        return field(torch.cat([x, t.to(x).expand(x.shape[:-1])[..., None]], -1))

    tolerance = dict(atol=TOLERANCE, rtol=TOLERANCE)
    start, end = torch.tensor(0.0), torch.tensor(1.0)
    transform = zuko.transforms.FreeFormJacobianTransform(
        velocity, start, end, phi=field.parameters(), **tolerance
    )
    base = zuko.distributions.DiagNormal(torch.zeros(dim), torch.ones(dim))

    def log_prob(x):
        z, log_det = transform.call_and_ladj(x)
        return base.log_prob(z) + log_det

    return TorchModel(field, log_prob, lambda n: transform.inv(base.sample((n,))))


FLOWS = {
    "planar": {
        "flowzoo": lambda dim: from_flow(flowzoo_of(zoo.planar, dim, num_layers=BENDS)),
        "flowjax": flowjax_planar,
        "normflows": lambda dim: normflows_bends(dim, "Planar"),
    },
    "radial": {
        "flowzoo": lambda dim: from_flow(flowzoo_of(zoo.radial_flow, dim, num_layers=BENDS)),
        "normflows": lambda dim: normflows_bends(dim, "Radial"),
    },
    "naf": {
        "flowzoo": lambda dim: from_flow(
            flowzoo_of(
                zoo.naf, dim, num_layers=NAF_LAYERS, num_units=NAF_UNITS, hidden_sizes=NAF_HIDDEN
            )
        ),
        "zuko": zuko_naf,
    },
    "bnaf": {
        "flowzoo": lambda dim: from_flow(
            flowzoo_of(zoo.bnaf, dim, num_layers=BNAF_LAYERS, hidden_units=BNAF_UNITS)
        ),
        "flowjax": flowjax_bnaf,
    },
    "gaussianization": {
        "flowzoo": lambda dim: from_flow(
            flowzoo_of(
                zoo.gaussianization,
                dim,
                num_layers=MAPS,
                num_components=COMPONENTS,
                init="identity",
            )
        ),
        "zuko": zuko_gaussianization,
    },
    "continuous": {
        "flowzoo": lambda dim: from_flow(flowzoo_continuous(dim)),
        "zuko": zuko_continuous,
    },
    "residual": {
        "flowzoo": lambda dim: from_flow(flowzoo_residual(dim)),
        "normflows": lambda dim: normflows_residual(dim, exact_trace=True, n_power_series=20),
    },
    "residual_estimated": {
        "flowzoo": lambda dim: random(
            from_flow(with_log_det_estimates(flowzoo_residual(dim), jax.random.key(0)))
        ),
        "normflows": lambda dim: random(normflows_residual(dim)),
    },
}
