"""The MAF authors' archive of prepared datasets: download, checksum, single files out of it."""

from collections.abc import Iterator, Sequence
import contextlib
import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile
import zlib

from tqdm import tqdm

URL = "https://zenodo.org/records/1161203/files/data.tar.gz"
# As Zenodo states it. Two independent public programs that fetch the file quote the same; it could
# not be compared with the file itself.
MD5 = "9b9c9b0375315ad270eba4ce80c093ab"
NAME = "data.tar.gz"


def download(folder: pathlib.Path, *, url: str = URL, md5: str = MD5) -> pathlib.Path:
    """Fetches the archive (857 MB) into a folder, going on with a part that is there; checks it.

    Raises:
      OSError: if the server cannot be reached or the connection breaks; the part is kept.
      ValueError: if the checksum differs; the file is then deleted.
    """
    import requests

    path, part = folder / NAME, folder / f"{NAME}.part"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    with requests.get(
        url, headers={"Range": f"bytes={have}-"} if have else {}, stream=True, timeout=30
    ) as response:
        # 416: there is nothing after the part, which is then whole.
        if response.status_code != requests.codes.requested_range_not_satisfiable:
            response.raise_for_status()
            # A server that does not know ranges begins anew.
            have = have if response.status_code == requests.codes.partial_content else 0
            total = have + int(response.headers.get("Content-Length", 0))
            with (
                open(part, "ab" if have else "wb") as file,
                tqdm(
                    desc=NAME, total=total, initial=have, unit="B", unit_scale=True, disable=None
                ) as bar,
            ):
                for chunk in response.iter_content(1 << 16):
                    file.write(chunk)
                    bar.update(len(chunk))
            if (size := part.stat().st_size) < total:
                raise ConnectionError(f"the connection ended after {size} of {total} bytes")
    found = checksum(part)
    if found != md5:
        size = part.stat().st_size
        part.unlink()
        raise ValueError(
            f"{url} gave {size} bytes with md5 {found}, expected {md5}: the download was damaged "
            "and is deleted; try again."
        )
    os.replace(part, path)
    return path


def checksum(path: pathlib.Path) -> str:
    """The md5 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@contextlib.contextmanager
def unpacked(path: pathlib.Path, names: Sequence[str]) -> Iterator[list[pathlib.Path]]:
    """Unpacks the files that end in `names` into a temporary folder beside the archive.

    Raises:
      ValueError: if the archive is damaged, or has no such files.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        paths = {name: pathlib.Path(folder) / name.replace("/", "_") for name in names}
        found = set()
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    for name in set(names) - found:
                        if f"/{member.name}".endswith(f"/{name}"):
                            with (
                                archive.extractfile(member) as source,
                                open(paths[name], "wb") as to,
                            ):
                                shutil.copyfileobj(source, to, 1 << 20)
                            found.add(name)
                    if len(found) == len(names):
                        break
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path} ({path.stat().st_size} bytes) is damaged or incomplete ({error}): fetch "
                f"it again. The md5 of the MAF authors' {NAME} is {MD5}."
            ) from error
        if len(found) < len(names):
            raise ValueError(
                f"{path} has no {' and '.join(sorted(set(names) - found))}: it is not the MAF "
                "authors' archive."
            )
        yield list(paths.values())
