"""TFDS builders of the tabular density-estimation suite.

Importing this module loads tensorflow_datasets and registers `flowzoo_power`, `flowzoo_gas`,
`flowzoo_hepmass`, `flowzoo_miniboone` and `flowzoo_bsds300` with it.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow_datasets as tfds

BLOCK_ROWS = 4096


class _TabularBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Rows of real numbers, in records `x` of up to 4,096 rows, float32 `[n, D]`.

    A record for each row would take minutes to read where these take a second.

    Args:
      splits: `{split: blocks}`, each block float32 `[n, D]`; needed for preparing only.
      source: in words, what the data were made from.
    """

    VERSION = tfds.core.Version("1.0.0")
    HOMEPAGE = "https://zenodo.org/records/1161203"

    def __init__(
        self,
        *,
        splits: Mapping[str, Iterable[np.ndarray]] | None = None,
        source: str = "",
        **kwargs,
    ):
        self.splits, self.source = splits, source
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        x = tfds.features.Tensor(shape=(None, None), dtype=np.float32, encoding="bytes")
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"x": x}),
            metadata=tfds.core.MetadataDict(source=self.source),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(blocks) for split, blocks in self.splits.items()}

    def _generate_examples(self, blocks):
        for i, block in enumerate(records(blocks)):
            yield i, {"x": block}


def records(blocks: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """Cuts blocks of any length into blocks of `BLOCK_ROWS`, the last one shorter."""
    rest = None
    for block in blocks:
        rest = block if rest is None else np.concatenate([rest, block])
        full = len(rest) - len(rest) % BLOCK_ROWS
        for start in range(0, full, BLOCK_ROWS):
            yield np.ascontiguousarray(rest[start : start + BLOCK_ROWS])
        rest = rest[full:]
    if rest is not None and len(rest):
        yield np.ascontiguousarray(rest)


class FlowzooPower(_TabularBuilder):
    """POWER: electric power consumption of a household, 6 columns."""

    CITATION = "Hébrail, Bérard, Individual household electric power consumption, UCI, 2012."


class FlowzooGas(_TabularBuilder):
    """GAS: 8 of 16 gas sensors under a mixture of ethylene and CO."""

    CITATION = "Fonollosa et al., Reservoir computing compensates slow response, 2015 (UCI)."


class FlowzooHepmass(_TabularBuilder):
    """HEPMASS: 21 features of simulated particle collisions, mass 1000, signal only."""

    CITATION = "Baldi et al., Parameterized machine learning for high-energy physics, 2016 (UCI)."


class FlowzooMiniboone(_TabularBuilder):
    """MINIBOONE: 43 features of electron neutrinos."""

    CITATION = "Roe, MiniBooNE particle identification, UCI, 2010."


class FlowzooBsds300(_TabularBuilder):
    """BSDS300: 8 × 8 grey patches of natural images, 63 dimensions."""

    CITATION = "Martin, Fowlkes, Tal, Malik, A database of human segmented images, ICCV 2001."


TABULAR_BUILDERS = {
    "power": FlowzooPower,
    "gas": FlowzooGas,
    "hepmass": FlowzooHepmass,
    "miniboone": FlowzooMiniboone,
    "bsds300": FlowzooBsds300,
}
