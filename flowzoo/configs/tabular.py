"""What POWER, GAS, HEPMASS and MINIBOONE have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from flowzoo.configs.baselines import baselines


def entries(
    hidden_sizes: Sequence[int],
    *,
    batch_size: int,
    num_epochs: int,
    activation: str = "relu",
    paper: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """For `flowzoo.training.config.choose`: the fully connected flows and the baselines.

    Args:
      hidden_sizes: of the baselines' networks.
      batch_size, num_epochs: of the flow with learned maps.
      activation: of the autoregressive baselines.
      paper: the options that Gresele et al. found best, where they are not the recipe's defaults.
    """
    return {
        "learned": dict(
            title="Fully connected flow, learned maps",
            model=dict(name="fully_connected_learned", num_layers=5),
            optimizer=dict(
                learning_rate=2e-3, schedule="cosine", dense_learning_rate=6e-4, clip_norm=30.0
            ),
            batch_size=batch_size,
            num_epochs=num_epochs,
        ),
        "paper": dict(
            title="Fully connected flow",
            model=dict(paper or {}, name="fully_connected"),
            optimizer=dict(learning_rate=1e-4),
            num_epochs=100,
        ),
        **baselines(hidden_sizes, activation),
    }
