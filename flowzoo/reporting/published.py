"""Published test log-likelihoods, to stand beside our own."""

from typing import NamedTuple


class Published(NamedTuple):
    """A test log-likelihood in nats with two standard errors, as printed in a paper."""

    model: str
    nats: float
    two_standard_errors: float
    source: str


MAF_PAPER = "Papamakarios et al. 2017, arXiv 1705.07057"
RELATIVE_GRADIENT_PAPER = "Gresele et al. 2020, arXiv 2006.15090"

_COLUMNS = ("power", "gas", "hepmass", "miniboone", "bsds300", "mnist", "mnist_conditional")
_MAF_TABLE = {
    "Gaussian": "-7.74 .02 -3.58 .75 -27.93 .02 -37.24 1.07 96.67 .25 -1366.9 1.4 -1344.7 1.8",
    "MADE": "-3.08 .03 3.56 .04 -20.98 .02 -15.59 .50 148.85 .28 -1380.8 4.8 -1361.9 1.9",
    "MADE MoG": "0.40 .01 8.47 .02 -15.15 .02 -12.27 .47 153.71 .28 -1038.5 1.8 -1030.3 1.7",
    "Real NVP (5)": "-0.02 .01 4.78 1.80 -19.62 .02 -13.55 .49 152.97 .28 -1323.2 6.6 -1326.3 5.8",
    "Real NVP (10)": "0.17 .01 8.33 .14 -18.71 .02 -13.84 .52 153.28 1.78 -1370.7 10.1 "
    "-1371.3 43.9",
    "MAF (5)": "0.14 .01 9.07 .02 -17.70 .02 -11.75 .44 155.69 .28 -1300.5 1.7 -1302.9 1.7",
    "MAF (10)": "0.24 .01 10.08 .02 -17.73 .02 -12.24 .45 154.93 .28 -1313.1 2.0 -1316.8 1.8",
    "MAF MoG (5)": "0.30 .01 9.59 .02 -17.39 .02 -11.68 .44 156.36 .28 -1100.3 1.6 -1092.3 1.7",
}
_RELATIVE_GRADIENT_ROW = {
    "power": (0.065, 0.013),
    "gas": (6.978, 0.020),
    "hepmass": (-21.958, 0.019),
    "miniboone": (-13.372, 0.450),
    "bsds300": (151.12, 0.28),
    "mnist": (-1375.2, 1.4),
}


# For orientation: models that the zoo does not have. Standard errors are left out.
_LATER = {
    "FFJORD": ("0.46 8.59 -14.92 -10.43 157.40", "Grathwohl et al. 2019, arXiv 1810.01367"),
    "BNAF": ("0.61 12.06 -14.71 -8.95 157.36", "De Cao et al. 2019, arXiv 1904.04676"),
    "MAF, run again": ("0.45 12.35 -17.03 -10.92 156.95", "Durkan et al. 2019, arXiv 1906.04032"),
    "RQ-NSF (C)": ("0.64 13.09 -14.75 -9.67 157.54", "Durkan et al. 2019, arXiv 1906.04032"),
    "RQ-NSF (AR)": ("0.66 13.09 -14.01 -9.22 157.31", "Durkan et al. 2019, arXiv 1906.04032"),
}


def published(dataset: str, conditional: bool = False) -> list[Published]:
    """The published results on a dataset, none if there are no comparable ones."""
    column = f"{dataset}_conditional" if conditional else dataset
    rows = []
    if column in _RELATIVE_GRADIENT_ROW:
        value = _RELATIVE_GRADIENT_ROW[column]
        rows.append(Published("relative gradient", *value, RELATIVE_GRADIENT_PAPER))
    if column in _COLUMNS:
        place = 2 * _COLUMNS.index(column)
        for model, text in _MAF_TABLE.items():
            nats, error = map(float, text.split()[place : place + 2])
            rows.append(Published(model, nats, error, MAF_PAPER))
    return rows


def published_later(dataset: str) -> list[tuple[str, float, str]]:
    """Model, nats and source of later published results on a tabular set, for orientation."""
    if dataset not in _COLUMNS[:5]:
        return []
    place = _COLUMNS.index(dataset)
    return [(model, float(t.split()[place]), source) for model, (t, source) in _LATER.items()]


def published_model(model_config) -> str | None:
    """The name under which the published tables list a model of the zoo, None if they do not."""
    name, layers = model_config["name"], model_config.get("num_layers")
    titles = {
        "fully_connected": "relative gradient",
        "gaussian": "Gaussian",
        "made": "MADE",
        "made_mog": "MADE MoG",
        "real_nvp": f"Real NVP ({layers})",
        "maf": f"MAF ({layers})",
        "maf_mog": f"MAF MoG ({layers})",
    }
    return titles.get(name)
