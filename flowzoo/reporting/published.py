"""Published test log-likelihoods, to stand beside our own."""

from typing import Any, NamedTuple


class Published(NamedTuple):
    """A test log-likelihood in nats, as printed in a paper.

    Attributes:
      model: the paper's name of it.
      nats: its test log-likelihood.
      two_standard_errors: of that, None if left out here.
      source: authors, year and arXiv number.
      entries: of the configs, those that train this architecture; none if the zoo has not got it.
    """

    model: str
    nats: float
    two_standard_errors: float | None
    source: str
    entries: tuple[str, ...]


MAF_PAPER = "Papamakarios et al. 2017, arXiv 1705.07057"
RELATIVE_GRADIENT_PAPER = "Gresele et al. 2020, arXiv 2006.15090"
SPLINE_PAPER = "Durkan et al. 2019, arXiv 1906.04032"

_COLUMNS = (
    *("power", "gas", "hepmass", "miniboone", "bsds300"),
    *("mnist", "mnist_conditional", "cifar10", "cifar10_conditional"),
)
# Model, the entries that train it, and for each column the nats and two standard errors.
_MAF_TABLE = (
    (
        "Gaussian",
        "gaussian",
        "-7.74 .02 -3.58 .75 -27.93 .02 -37.24 1.07 96.67 .25 -1366.9 1.4 -1344.7 1.8"
        " 2367 29 2030 41",
    ),
    (
        "MADE",
        "made",
        "-3.08 .03 3.56 .04 -20.98 .02 -15.59 .50 148.85 .28 -1380.8 4.8 -1361.9 1.9 147 20 187 20",
    ),
    (
        "MADE MoG",
        "made_mog",
        "0.40 .01 8.47 .02 -15.15 .02 -12.27 .47 153.71 .28 -1038.5 1.8 -1030.3 1.7"
        " -397 21 -119 20",
    ),
    (
        "Real NVP (5)",
        "real_nvp5",
        "-0.02 .01 4.78 1.80 -19.62 .02 -13.55 .49 152.97 .28 -1323.2 6.6 -1326.3 5.8"
        " 2576 27 2642 26",
    ),
    (
        "Real NVP (10)",
        "real_nvp10",
        "0.17 .01 8.33 .14 -18.71 .02 -13.84 .52 153.28 1.78 -1370.7 10.1 -1371.3 43.9"
        " 2568 26 2475 25",
    ),
    (
        "MAF (5)",
        "maf5",
        "0.14 .01 9.07 .02 -17.70 .02 -11.75 .44 155.69 .28 -1300.5 1.7 -1302.9 1.7"
        " 2936 27 2983 26",
    ),
    (
        "MAF (10)",
        "maf10",
        "0.24 .01 10.08 .02 -17.73 .02 -12.24 .45 154.93 .28 -1313.1 2.0 -1316.8 1.8"
        " 3049 26 3058 26",
    ),
    (
        "MAF MoG (5)",
        "maf_mog5",
        "0.30 .01 9.59 .02 -17.39 .02 -11.68 .44 156.36 .28 -1100.3 1.6 -1092.3 1.7"
        " 2911 26 2936 26",
    ),
)
_RELATIVE_GRADIENT_ROW = {
    "power": (0.065, 0.013),
    "gas": (6.978, 0.020),
    "hepmass": (-21.958, 0.019),
    "miniboone": (-13.372, 0.450),
    "bsds300": (151.12, 0.28),
    "mnist": (-1375.2, 1.4),
}
# Of the tabular sets; standard errors are left out.
_LATER = (
    (
        "FFJORD",
        ("ffjord",),
        "0.46 8.59 -14.92 -10.43 157.40",
        "Grathwohl et al. 2019, arXiv 1810.01367",
    ),
    ("BNAF", ("bnaf",), "0.61 12.06 -14.71 -8.95 157.36", "De Cao et al. 2019, arXiv 1904.04676"),
    ("MAF, run again", (), "0.45 12.35 -17.03 -10.92 156.95", SPLINE_PAPER),
    ("RQ-NSF (C)", ("nsf_coupling",), "0.64 13.09 -14.75 -9.67 157.54", SPLINE_PAPER),
    ("RQ-NSF (AR)", ("nsf_autoregressive",), "0.66 13.09 -14.01 -9.22 157.31", SPLINE_PAPER),
)


def published(dataset: str, conditional: bool = False) -> list[Published]:
    """The published results on a dataset, none if there are no comparable ones."""
    # The mirrors of CIFAR-10 have the published test images.
    column = dataset.removesuffix("_png") + "_conditional" * conditional
    rows = []
    if column in _RELATIVE_GRADIENT_ROW:
        value = _RELATIVE_GRADIENT_ROW[column]
        # The flow with learned maps is another architecture.
        own = ("paper", "whitened")
        rows.append(Published("relative gradient", *value, RELATIVE_GRADIENT_PAPER, own))
    if column not in _COLUMNS:
        return rows
    place = _COLUMNS.index(column)
    for model, entry, text in _MAF_TABLE:
        nats, error = map(float, text.split()[2 * place : 2 * place + 2])
        rows.append(Published(model, nats, error, MAF_PAPER, (entry,)))
    for model, entries, text, source in _LATER:
        if place < len(values := text.split()):
            rows.append(Published(model, float(values[place]), None, source, entries))
    return rows


# Mean correlation coefficients with the true sources: mean and standard deviation over seeds.
_IFLOW_PAPER = "Li et al. 2020, arXiv 1909.12555, 100 seeds of the data"
PUBLISHED_MCC = {
    "ica/iflow": (("iFlow", 0.718, 0.067, _IFLOW_PAPER), ("iVAE", 0.556, 0.061, _IFLOW_PAPER)),
}


def entry_of(name: str) -> str:
    """The entry in a config's name: `maf5` in `mnist/maf5-conditional-short`."""
    return name.rsplit("/", 1)[-1].split("-")[0]


def published_for(name: str, dataset: str, conditional: bool = False) -> Published | None:
    """The published figure of a run's own architecture, None if there is none.

    Args:
      name: of the run's config.
      dataset: what it was trained on.
      conditional: whether on the labels too.
    """
    rows = published(dataset, conditional)
    return next((row for row in rows if entry_of(name) in row.entries), None)


def comparison(
    name: str, dataset: str, *, conditional: bool = False, limit: int = 0
) -> list[dict[str, Any]]:
    """The published rows to print beside a run: its own architecture's, and the best one.

    None for a run on a part of the data (`limit` rows), whose likelihood does not compare.
    """
    if limit:
        return []
    own = published_for(name, dataset, conditional)
    best = max(published(dataset, conditional), key=lambda row: row.nats, default=None)
    rows = dict.fromkeys(row for row in (own, best) if row is not None)
    return [{k: v for k, v in row._asdict().items() if k != "entries"} for row in rows]


def figure(row: Published) -> str:
    """`151.12 ± 0.28 (Gresele et al. 2020)`."""
    authors = row.source.split(",")[0]
    if row.two_standard_errors is None:
        return f"{row.nats:.2f} ({authors})"
    # As many decimals as printed: floats have lost zeros at the end of one of the two.
    digits = max(len(f"{x:g}".partition(".")[2]) for x in (row.nats, row.two_standard_errors))
    return f"{row.nats:.{digits}f} ± {row.two_standard_errors:.{digits}f} ({authors})"
