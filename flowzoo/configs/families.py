"""The families beside the fully connected flow and the MAF paper's baselines, for the configs.

The protocol is that of the baselines' short runs (`configs/baselines.py`): standardised inputs, a
rate of 1e-3 that a cosine takes to zero, averaged parameters. The published sizes are in the
recipes' docstrings; neural spline flows have 157.54 (couplings) and 157.31 nats (autoregressive) on
BSDS300, NAF has 157.73, FFJORD 157.40 and BNAF 157.36.
"""

from collections.abc import Sequence
from typing import Any


def families(
    hidden_sizes: Sequence[int], matching_epochs: int = 500, **keys: Any
) -> dict[str, dict[str, Any]]:
    """For `flowzoo.training.config.choose`: what each family changes in the default config.

    Args:
      hidden_sizes: of every network.
      matching_epochs: epochs of flow matching, whose steps cost little and are many.
      **keys: keys in which all of them differ on this dataset.
    """
    network = dict(hidden_sizes=tuple(hidden_sizes))
    # Each evaluation solves equations, so that there are ten of them.
    matching = dict(
        objective="flow_matching",
        optimizer=dict(learning_rate=3e-3, schedule="cosine", clip_norm=10.0),
        num_epochs=matching_epochs,
        eval_every_epochs=matching_epochs // 10,
        patience=matching_epochs,
    )

    def entry(title: str, name: str, **model: Any) -> dict[str, Any]:
        protocol = dict(
            optimizer=dict(learning_rate=1e-3, schedule="cosine", clip_norm=10.0),
            parameter_average=0.998,
        )
        return dict(title=title, model=dict(name=name, standardize=True, **model)) | protocol | keys

    return {
        "nsf_coupling": entry("RQ-NSF (C)", "nsf_coupling", **network),
        "nsf_autoregressive": entry("RQ-NSF (AR)", "nsf_autoregressive", **network),
        "naf": entry("NAF-DSF", "naf", **network),
        "bnaf": entry("BNAF", "bnaf"),
        "gaussianization": entry("Gaussianization flow", "gaussianization"),
        "planar": entry("Planar flow", "planar"),
        "radial": entry("Radial flow", "radial_flow"),
        "sylvester": entry("Sylvester flow", "sylvester"),
        "residual": entry("Residual flow", "residual_flow", **network),
        "ffjord": entry("FFJORD", "continuous_flow", **network),
        "flow_matching": entry("Flow matching", "continuous_flow", **network) | matching,
    }
