"""From a name to a directory: packaged models, a cache filled from a base, or a plain path."""

import difflib
import hashlib
import os
import pathlib
import tempfile
from typing import NamedTuple
import urllib.error
import urllib.request

from etils import epath

from flowzoo.pretrained import files
from flowzoo.pretrained.card import Card
from flowzoo.raw_flow import RawFlow

PACKAGED = pathlib.Path(__file__).parent / "packaged"
BASE_VARIABLE = "FLOWZOO_PRETRAINED_BASE"
CACHE_VARIABLE = "FLOWZOO_PRETRAINED_CACHE"

# What models were called in version 0.1.0.
ALIASES = {
    "bsds300_relative_gradient": "bsds300_learned",
    "checkerboard_relative_gradient": "toy_checkerboard",
    "digits_maf": "digits_maf5",
    "digits_maf_conditional": "digits_maf5_conditional",
    "digits_real_nvp": "digits_real_nvp5",
    "digits_relative_gradient": "digits_learned",
    "eight_gaussians_relative_gradient": "toy_eight_gaussians",
    "mixture_of_gaussians_relative_gradient": "toy_mixture_of_gaussians",
    "mnist_conditional": "mnist_learned_conditional",
    "mnist_real_nvp_image": "mnist_real_nvp_image_short",
    "mnist_relative_gradient": "mnist_learned",
    "moons_relative_gradient": "toy_moons",
    "rings_relative_gradient": "toy_rings",
    "sine_relative_gradient": "toy_sine",
    "smile_relative_gradient": "toy_smile",
    "two_spirals_relative_gradient": "toy_two_spirals",
}


class Entry(NamedTuple):
    """One packaged model: what its card says, and its size on disk."""

    name: str
    dataset: str
    model: str
    num_parameters: int
    megabytes: float
    log_likelihood_nats: float
    two_standard_errors: float
    bits_per_dim: float | None


def load_pretrained(name_or_path: str | os.PathLike, *, base: str | None = None) -> RawFlow:
    """Loads a pretrained model, on raw data, with its card.

    Args:
      name_or_path: a name that `list_pretrained` shows; a directory or a `.safetensors` file, as a
        path with a slash in it; or an address (`https://…`, `gs://…`), which is fetched once.
      base: where names that are not packaged are fetched from: a URL or bucket with a directory for
        each model, by default the environment variable `FLOWZOO_PRETRAINED_BASE`. They are kept in
        the folder `FLOWZOO_PRETRAINED_CACHE`, by default one of the user's cache directory.

    Returns:
      A `RawFlow`: `log_prob` takes raw data and `sample` returns them; `flow` is the flow itself,
      `card` its model card.

    Raises:
      FileNotFoundError: if the name is unknown, or the model or a file of it is not there.
      ValueError: if a file is damaged, the format is newer than this version of flowzoo, or the
        arrays are not those of the model.

    Example:
      >>> import flowzoo, jax
      >>> model = flowzoo.load_pretrained("digits_learned")
      >>> x = model.sample(jax.random.key(0), (5,))
      >>> model.log_prob(x).shape
      (5,)
    """
    if str(name_or_path).endswith(".safetensors"):
        from flowzoo.pretrained.single_file import load

        return load(name_or_path)
    return files.read_directory(find(name_or_path, base=base))


def list_pretrained() -> list[Entry]:
    """The packaged models, by name."""
    return [_entry(directory) for directory in _packaged().values()]


def show_pretrained(name_or_path: str | os.PathLike, *, base: str | None = None) -> Card:
    """The card of a model, without loading it; arguments and errors as for `load_pretrained`."""
    return files.read_card(find(name_or_path, base=base))


def find(name_or_path: str | os.PathLike, *, base: str | None = None) -> epath.Path:
    """The local directory of a model, fetched if need be; see `load_pretrained`.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if what was fetched is damaged.
    """
    name = os.fspath(name_or_path)
    if "://" in name:
        return _fetched(name.rstrip("/"))
    packaged, base = _packaged(), base or os.environ.get(BASE_VARIABLE)
    if os.sep in name or "/" in name or isinstance(name_or_path, os.PathLike):
        directory = epath.Path(name).expanduser()
        if not directory.is_dir():
            raise FileNotFoundError(f"{name} is not a directory, expected a pretrained model.")
        return directory
    if (today := ALIASES.get(name, name)) in packaged:
        return epath.Path(packaged[today])
    if base:
        address = f"{base.rstrip('/')}/{name}"
        if "://" in base:
            return _fetched(address)
        if (directory := epath.Path(address)).is_dir():
            return directory
    near = difflib.get_close_matches(name, packaged)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    also = f" {base} has none of that name either." if base else ""
    local = f" For the directory write './{name}'." if pathlib.Path(name).is_dir() else ""
    raise FileNotFoundError(
        f"There is no pretrained model {name!r}.{hint} Known: {', '.join(packaged)}.{also}{local}"
    )


def _packaged() -> dict[str, pathlib.Path]:
    paths = sorted(PACKAGED.iterdir()) if PACKAGED.exists() else []
    return {path.name: path for path in paths if (path / files.MANIFEST).exists()}


def _entry(directory: pathlib.Path) -> Entry:
    card = files.read_card(directory)
    metrics = card["metrics"]
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return Entry(
        name=directory.name,
        dataset=card["dataset"],
        model=card["model"]["name"],
        num_parameters=card["num_parameters"],
        megabytes=size / 1e6,
        log_likelihood_nats=metrics["log_likelihood_nats"],
        two_standard_errors=metrics["two_standard_errors"],
        bits_per_dim=metrics.get("bits_per_dim"),
    )


def cache_folder() -> pathlib.Path:
    """Where fetched models are kept."""
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "flowzoo", "pretrained")
    return pathlib.Path(os.environ.get(CACHE_VARIABLE, default)).expanduser()


def _fetched(address: str) -> epath.Path:
    """The cached copy of the model at an address; it is made whole or not at all."""
    # Models of one name from two places are two models.
    place = hashlib.sha256(address.encode()).hexdigest()[:8]
    target = cache_folder() / f"{address.rsplit('/', 1)[-1]}-{place}"
    if target.exists():
        return epath.Path(target)
    manifest = _read(f"{address}/{files.MANIFEST}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        staging = pathlib.Path(folder, "model")
        staging.mkdir()
        (staging / files.MANIFEST).write_bytes(manifest)
        for name, expected in files.parse_manifest(manifest, f"{address}/{files.MANIFEST}").items():
            data = _read(f"{address}/{name}")
            files.check_hash(data, expected, f"{address}/{name}")
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            staging.rename(target)
        except OSError:
            # Another process may have fetched the same model meanwhile.
            if not target.exists():
                raise
    return epath.Path(target)


def _read(address: str) -> bytes:
    try:
        if address.startswith(("http://", "https://", "file://")):
            with urllib.request.urlopen(address, timeout=30) as response:
                return response.read()
        return epath.Path(address).read_bytes()
    except Exception as error:  # Each kind of bucket has errors of its own.
        raise FileNotFoundError(
            f"{address} cannot be read ({type(error).__name__}: {error}); check the address, or "
            "the base that the name was looked for in."
        ) from error
