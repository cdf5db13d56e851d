"""Datasets on the Hugging Face hub: their tables with images, downloaded into the hub's cache one by one.

`hf://datasets/organisation/name`, with `@revision` after the name, and a file, folder or glob after that. The
hub's client keeps what it downloads and finds it again, without the network too.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from clipcli.errors import UsageError
from clipcli.hub_client import quiet_hub, reason, refusal
from clipcli.inputs.dataset_folders import is_table_of_dataset
from clipcli.inputs.item import changed
from clipcli.inputs.tables.cells import CellItem
from clipcli.inputs.tables.recognise import table_format
from clipcli.inputs.tables.table import Table, row_named
from clipcli.inputs.walk import PathFilter, Search
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item

_ADDRESS = re.compile(
    r"hf://datasets/(?P<repository>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(?P<path>.*))?"
)
_COLUMNAR = ("parquet", "arrow")


@dataclass(frozen=True)
class Address:
    """What `hf://datasets/…` names: a repository, its revision, and a file, folder or glob in it."""

    repository: str
    revision: str | None
    path: str

    @property
    def start(self) -> str:
        """How the names of its files begin."""
        return f"hf://datasets/{self.repository}{f'@{self.revision}' if self.revision else ''}/"

    def names(self, file: str) -> bool:
        """Whether this names a table: as one of the dataset, in a folder, by a glob or by itself."""
        if not self.path:
            return is_table_of_dataset(file)
        below = file.startswith(f"{self.path}/") or fnmatch.fnmatchcase(file, self.path)
        return (below or file == self.path) and table_format(file) in _COLUMNAR


def address_of(name: str) -> Address | None:
    """The address that a name is; None for other names.

    Raises:
        UsageError: it begins as one and lacks a part.
    """
    if not name.startswith("hf://datasets/"):
        return None
    found = _ADDRESS.fullmatch(name)
    if found is None:
        raise UsageError(f"not a dataset of the hub: {name}", "Write hf://datasets/ORGANISATION/NAME.")
    return Address(found["repository"], found["revision"], (found["path"] or "").rstrip("/"))


class HubDataset:
    """The tables with images of a dataset on the hub, as a source.

    The first table is downloaded at once, because it tells the columns; each other one when its turn comes.

    Args:
        address: where they are.
        path_filter: what the user wants of the files.
        image_column: the column of the images; None finds it.

    Raises:
        UsageError: there is no such dataset or file, it cannot be reached, or holds no images.
    """

    is_table = True

    def __init__(self, address: Address, path_filter: PathFilter, image_column: str | None = None) -> None:
        self._address, self._image_column = address, image_column
        self._paths: dict[str, str] = {}  # so that a dataset that changes meanwhile stays the same here
        listed = sorted(filter(address.names, _files(address)))
        self._files = [file for file in listed if not path_filter.reason(file, False)]
        if not self._files:
            hint = "Name its files, as in hf://datasets/ORGANISATION/NAME/FOLDER/*.parquet."
            raise UsageError(f"no tables of images in {address.start}{address.path}", hint)
        self.columns: Mapping[str, type] = self._table(self._files[0]).columns

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """An image for each row of each table.

        Raises:
            UsageError: a table cannot be downloaded, or has other columns than the first one.
        """
        wanted = self.columns if search.columns is None else search.columns
        for file in self._files:
            for one in self._table(file).images(wanted):
                yield one if isinstance(one, ImageFailure) else changed(one, name=self._name(one, file))

    def _name(self, one: object, file: str) -> str:
        assert isinstance(one, CellItem)
        return f"{self._address.start}{file}#{one.name.rpartition('#')[2]}"

    def _table(self, file: str) -> Table:
        name = self._address.start + file
        path = self._paths.get(file) or _downloaded(self._address, file)
        table = Table(self._paths.setdefault(file, path), self._image_column, called=name)
        if table.cells is None:
            raise UsageError(f"{name} holds no images, but paths", "Name tables with images inside.")
        if file != self._files[0] and table.columns != self.columns:
            raise UsageError(
                f"{name} has other columns than {self._files[0]}",
                "Name the files of one configuration, such as hf://datasets/ORGANISATION/NAME/FOLDER.",
            )
        return table


def hub_row_named(name: str, columns: Columns = NO_COLUMNS) -> CellItem | None:
    """The image of a name such as `hf://datasets/organisation/name/train.parquet#17`; None for others.

    Raises:
        UsageError: its table cannot be downloaded.
    """
    place, _, row = name.rpartition("#")
    address = address_of(place) if row else None
    if address is None or table_format(address.path) not in _COLUMNAR:
        return None
    path = _cached(address, address.path) or _downloaded(address, address.path)
    found = row_named(f"{path}#{row}", columns)
    return found and replace(found, name=name)


# --- The hub's client ----------------------------------------------------------------------------


def _files(address: Address) -> list[str]:
    """All files of a repository; of one that cannot be reached, those in the cache."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        with quiet_hub():
            about = HfApi().dataset_info(address.repository, revision=address.revision)
        return [file.rfilename for file in about.siblings or ()]
    except HfHubHTTPError as error:
        _refuse(address.start, error)
    except Exception as error:  # the client's own, httpx's and OSError: there is no connection
        try:
            folder = snapshot_download(
                address.repository, repo_type="dataset", revision=address.revision, local_files_only=True
            )
        except LocalEntryNotFoundError:
            _refuse(address.start, error)
    return [os.path.relpath(path, folder) for path in _paths_below(folder)]


def _paths_below(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)


def _cached(address: Address, file: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(address.repository, file, revision=address.revision, repo_type="dataset")
    return path if isinstance(path, str) else None


def _downloaded(address: Address, file: str) -> str:
    """Where the hub's cache has a file, which is downloaded if it is not there, or not up to date."""
    from huggingface_hub import hf_hub_download

    try:
        with quiet_hub():
            return hf_hub_download(address.repository, file, repo_type="dataset", revision=address.revision)
    except Exception as error:  # the hub client raises its own, httpx's and OSError
        _refuse(address.start + file, error)


def _refuse(name: str, error: Exception) -> NoReturn:
    """Say what went wrong, in one line, and what to do."""
    why, hint = refusal(error, "dataset") or (reason(error), "Run it again where there is a network.")
    raise UsageError(f"cannot read {name}: {why}", hint) from None
