"""The same flows as each library builds them: name of a flow -> library -> `dim -> Model`.

MAF has 5 layers with one hidden layer of 512 ReLU units each. The networks of nflows and normflows
have one more linear map, of 512 × 512: theirs have no smaller one with a nonlinearity.

Couplings come in tens, their networks with one hidden layer. `real_nvp` has a tanh scale network
and a ReLU shift network of 512 units. distrax leaves the networks to its user and has the same
pair, but in its masked couplings they see and give all coordinates: of the width that gives the
flow as many parameters, about 256, and, as `distrax-wide`, of 512 units. `real_nvp_shared` has one
ReLU network of 512 units for scale and shift, which is what the other peers have.

NSF is MAF with rational-quadratic splines of 8 bins in the place of affine maps, within ±3, of zuko
within ±5, its only choice; `nsf_coupling` is `real_nvp_shared` with these.

No batch norm anywhere. distrax has no autoregressive layer.
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.benchmarks.peer_models import JaxModel, TorchModel, from_flow
from flowzoo.flow import Flow
from flowzoo.zoo.maf import maf
from flowzoo.zoo.neural_spline import nsf_autoregressive, nsf_coupling
from flowzoo.zoo.parameters import num_parameters
from flowzoo.zoo.real_nvp import real_nvp

HIDDEN = 512
MAF_LAYERS = 5
COUPLINGS = 10
BINS, BOUND = 8, 3.0


def flowzoo_maf(dim: int) -> Flow:
    return maf(
        (dim,),
        num_layers=MAF_LAYERS,
        hidden_sizes=(HIDDEN,),
        batch_norm=False,
        rngs=nnx.Rngs(0),
    )


def flowzoo_real_nvp(dim: int, scale_activation: str = "tanh") -> Flow:
    return real_nvp(
        (dim,),
        num_layers=COUPLINGS,
        hidden_sizes=(HIDDEN,),
        scale_activation=scale_activation,
        batch_norm=False,
        rngs=nnx.Rngs(0),
    )


def flowzoo_nsf_coupling(dim: int) -> Flow:
    return nsf_coupling(
        (dim,),
        num_layers=COUPLINGS,
        num_bins=BINS,
        bound=BOUND,
        hidden_sizes=(HIDDEN,),
        map_kept=False,
        linear="reverse",
        rngs=nnx.Rngs(0),
    )


def flowzoo_nsf(dim: int) -> Flow:
    return nsf_autoregressive(
        (dim,),
        num_layers=MAF_LAYERS,
        num_bins=BINS,
        bound=BOUND,
        hidden_sizes=(HIDDEN,),
        linear="reverse",
        rngs=nnx.Rngs(0),
    )


def activations(dim: int) -> str:
    """What a step of couplings does with them: the wider the input, the more they cost again."""
    return "recomputed" if dim < 256 else "kept"


def masked_coupling_width(dim: int) -> int:
    """The width at which two networks that see and give all coordinates have as many parameters as
    the two of flowzoo's couplings.
    """
    parameters = num_parameters(nnx.eval_shape(lambda: flowzoo_real_nvp(dim))) / COUPLINGS
    return round((parameters / 2 - dim) / (2 * dim + 1))


def flowjax_model(flow) -> JaxModel:
    import equinox as eqx
    from flowjax.train import fit_to_data
    from flowjax.train.losses import MaximumLikelihoodLoss
    import paramax

    parameters, static = eqx.partition(
        flow,
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )

    def fit(x, batch_size, optimizer):
        loss, key = MaximumLikelihoodLoss(), jax.random.key(0)
        # It insists on validation data; one more batch is the least.
        x = np.concatenate([x, x[:batch_size]])
        return lambda: fit_to_data(
            key,
            flow,
            x,
            loss_fn=loss,
            optimizer=optimizer,
            max_epochs=1,
            batch_size=batch_size,
            val_prop=batch_size / len(x),
            show_progress=False,
        )

    return JaxModel(
        parameters,
        lambda parameters: paramax.unwrap(eqx.combine(parameters, static)),
        lambda flow, x: flow.log_prob(x),
        lambda flow, key, n: flow.sample(key, (n,)),
        fit,
    )


def flowjax_maf(dim: int, transformer=None) -> JaxModel:
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow

    return flowjax_model(
        masked_autoregressive_flow(
            jax.random.key(0),
            base_dist=Normal(jnp.zeros(dim)),
            transformer=transformer,
            flow_layers=MAF_LAYERS,
            nn_width=HIDDEN,
            nn_depth=1,
        )
    )


def flowjax_nsf(dim: int) -> JaxModel:
    from flowjax.bijections import RationalQuadraticSpline

    return flowjax_maf(dim, RationalQuadraticSpline(knots=BINS, interval=BOUND))


def flowjax_coupling(dim: int, transformer=None) -> JaxModel:
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    return flowjax_model(
        coupling_flow(
            jax.random.key(0),
            base_dist=Normal(jnp.zeros(dim)),
            transformer=transformer,
            flow_layers=COUPLINGS,
            nn_width=HIDDEN,
        )
    )


def flowjax_nsf_coupling(dim: int) -> JaxModel:
    from flowjax.bijections import RationalQuadraticSpline

    return flowjax_coupling(dim, RationalQuadraticSpline(knots=BINS, interval=BOUND))


def distrax_real_nvp(dim: int, width: int) -> JaxModel:
    import distrax
    import haiku as hk

    def flow():
        def coupling(i):
            def network(activation):
                return hk.Sequential(
                    [
                        hk.Linear(width),
                        activation,
                        hk.Linear(dim, w_init=jnp.zeros),
                    ]
                )

            scale, shift = network(jnp.tanh), network(jax.nn.relu)

            def conditioner(kept):
                return scale(kept), shift(kept)

            def affine(parameters):
                log_scale, offset = parameters
                return distrax.ScalarAffine(shift=offset, log_scale=jnp.tanh(log_scale))

            return distrax.MaskedCoupling(jnp.arange(dim) % 2 == i % 2, conditioner, affine)

        base = distrax.MultivariateNormalDiag(jnp.zeros(dim), jnp.ones(dim))
        bijector = distrax.Inverse(distrax.Chain([coupling(i) for i in range(COUPLINGS)]))
        return distrax.Transformed(base, bijector)

    log_prob = hk.without_apply_rng(hk.transform(lambda x: flow().log_prob(x)))
    sample = hk.transform(lambda n: flow().sample(seed=hk.next_rng_key(), sample_shape=(n,)))
    return JaxModel(
        log_prob.init(jax.random.key(0), jnp.zeros((1, dim))),
        lambda parameters: parameters,
        log_prob.apply,
        sample.apply,
    )


def zuko_model(flow) -> TorchModel:
    return TorchModel(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def zuko_maf(dim: int) -> TorchModel:
    import zuko

    return zuko_model(zuko.flows.MAF(dim, 0, transforms=MAF_LAYERS, hidden_features=(HIDDEN,)))


def zuko_nsf(dim: int) -> TorchModel:
    import zuko

    return zuko_model(
        zuko.flows.NSF(dim, 0, bins=BINS, transforms=MAF_LAYERS, hidden_features=(HIDDEN,))
    )


def zuko_coupling(dim: int, **options) -> TorchModel:
    import zuko

    # Named after additive couplings, but its default couplings are affine.
    return zuko_model(
        zuko.flows.NICE(dim, transforms=COUPLINGS, hidden_features=(HIDDEN,), **options)
    )


def zuko_nsf_coupling(dim: int) -> TorchModel:
    import zuko

    shapes = [(BINS,), (BINS,), (BINS - 1,)]
    return zuko_coupling(dim, univariate=zuko.transforms.MonotonicRQSTransform, shapes=shapes)


def nflows_model(dim: int, layers) -> TorchModel:
    from nflows import distributions, flows, transforms

    flow = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([dim]))
    return TorchModel(flow, flow.log_prob, flow.sample)


def nflows_autoregressive(dim: int, layer: str, **options) -> TorchModel:
    from nflows import transforms

    layers = []
    for _ in range(MAF_LAYERS):
        layers += [
            getattr(transforms, layer)(
                dim, HIDDEN, num_blocks=1, use_residual_blocks=False, **options
            ),
            transforms.ReversePermutation(dim),
        ]
    return nflows_model(dim, layers)


def nflows_maf(dim: int) -> TorchModel:
    return nflows_autoregressive(dim, "MaskedAffineAutoregressiveTransform")


def nflows_nsf(dim: int) -> TorchModel:
    layer = "MaskedPiecewiseRationalQuadraticAutoregressiveTransform"
    return nflows_autoregressive(dim, layer, num_bins=BINS, tails="linear", tail_bound=BOUND)


def nflows_coupling(dim: int, layer: str, **options) -> TorchModel:
    from nflows import transforms
    from nflows.nn.nets import MLP
    import torch

    class Network(MLP):
        def forward(self, inputs, context=None):
            return super().forward(inputs)

    def network(num_inputs, num_outputs):
        return Network((num_inputs,), (num_outputs,), [HIDDEN])

    layers = [
        getattr(transforms, layer)((torch.arange(dim) + i) % 2, network, **options)
        for i in range(COUPLINGS)
    ]
    return nflows_model(dim, layers)


def nflows_real_nvp(dim: int) -> TorchModel:
    return nflows_coupling(dim, "AffineCouplingTransform")


def nflows_nsf_coupling(dim: int) -> TorchModel:
    layer = "PiecewiseRationalQuadraticCouplingTransform"
    return nflows_coupling(dim, layer, num_bins=BINS, tails="linear", tail_bound=BOUND)


def normflows_model(dim: int, layers) -> TorchModel:
    import normflows as nf

    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)
    return TorchModel(flow, flow.log_prob, lambda n: flow.sample(n)[0])


def normflows_maf(dim: int) -> TorchModel:
    import normflows as nf

    # Its flows map latents to data; Reverse makes the density, not the sample, the single pass.
    layers = []
    for _ in range(MAF_LAYERS):
        layer = nf.flows.MaskedAffineAutoregressive(
            dim, HIDDEN, num_blocks=1, use_residual_blocks=False
        )
        layers += [nf.flows.Reverse(layer), nf.flows.Permute(dim, mode="shuffle")]
    return normflows_model(dim, layers)


def normflows_real_nvp(dim: int) -> TorchModel:
    import normflows as nf

    layers = []
    for _ in range(COUPLINGS):
        network = nf.nets.MLP([dim - dim // 2, HIDDEN, 2 * (dim // 2)])
        layers += [nf.flows.AffineCouplingBlock(network), nf.flows.Permute(dim, mode="shuffle")]
    return normflows_model(dim, layers)


FLOWS = {
    "maf": {
        "flowzoo": lambda dim: from_flow(flowzoo_maf(dim)),
        "flowjax": flowjax_maf,
        "zuko": zuko_maf,
        "nflows": nflows_maf,
        "normflows": normflows_maf,
    },
    "nsf": {
        "flowzoo": lambda dim: from_flow(flowzoo_nsf(dim)),
        "flowjax": flowjax_nsf,
        "zuko": zuko_nsf,
        "nflows": nflows_nsf,
    },
    "real_nvp": {
        "flowzoo": lambda dim: from_flow(flowzoo_real_nvp(dim), activations(dim)),
        "distrax": lambda dim: distrax_real_nvp(dim, masked_coupling_width(dim)),
        "distrax-wide": lambda dim: distrax_real_nvp(dim, HIDDEN),
    },
    "real_nvp_shared": {
        "flowzoo": lambda dim: from_flow(flowzoo_real_nvp(dim, "shared"), activations(dim)),
        "flowjax": flowjax_coupling,
        "zuko": zuko_coupling,
        "nflows": nflows_real_nvp,
        "normflows": normflows_real_nvp,
    },
    "nsf_coupling": {
        "flowzoo": lambda dim: from_flow(flowzoo_nsf_coupling(dim), activations(dim)),
        "flowjax": flowjax_nsf_coupling,
        "zuko": zuko_nsf_coupling,
        "nflows": nflows_nsf_coupling,
    },
}
