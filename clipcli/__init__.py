"""A folder of images and a list of words in, ranked labels out: zero-shot classification with CLIP.

import clipcli

encoder = clipcli.load_model("nano")
classifier = clipcli.build_classifier(encoder, ["cat", "dog", "umbrella"])
frame = clipcli.to_frame(clipcli.classify("images/", encoder, classifier, top_k=3))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipcli.version import __version__

if TYPE_CHECKING:
    from clipcli.api import build_classifier as build_classifier
    from clipcli.api import classify as classify
    from clipcli.api import encode as encode
    from clipcli.api import load_classifier as load_classifier
    from clipcli.api import load_model as load_model
    from clipcli.api import save_classifier as save_classifier
    from clipcli.api import save_features as save_features
    from clipcli.api import to_frame as to_frame
    from clipcli.cache import FeatureCache as FeatureCache
    from clipcli.errors import ClipcliError as ClipcliError
    from clipcli.errors import ClipcliWarning as ClipcliWarning
    from clipcli.errors import ImageError as ImageError
    from clipcli.errors import ModelError as ModelError
    from clipcli.errors import ModelMismatchError as ModelMismatchError
    from clipcli.errors import OutputError as OutputError
    from clipcli.errors import PromptError as PromptError
    from clipcli.errors import UnknownModelError as UnknownModelError
    from clipcli.errors import UsageError as UsageError
    from clipcli.errors import WeightsDamagedError as WeightsDamagedError
    from clipcli.errors import WeightsUnavailableError as WeightsUnavailableError
    from clipcli.gallery import Gallery as Gallery
    from clipcli.images.decode import DecodeOptions as DecodeOptions
    from clipcli.known_images import KnownImages as KnownImages
    from clipcli.learning import add_rejector as add_rejector
    from clipcli.learning import fit_classifier as fit_classifier
    from clipcli.learning import fit_probe as fit_probe
    from clipcli.learning import with_prior as with_prior
    from clipcli.records import Duplicate as Duplicate
    from clipcli.records import Encoder as Encoder
    from clipcli.records import Hit as Hit
    from clipcli.records import ImageFailure as ImageFailure
    from clipcli.records import ImageFeatures as ImageFeatures
    from clipcli.records import ImagePredictions as ImagePredictions
    from clipcli.records import Item as Item
    from clipcli.records import LabelGroup as LabelGroup
    from clipcli.records import Outcome as Outcome
    from clipcli.records import Prediction as Prediction
    from clipcli.scoring.classifier import Classifier as Classifier
    from clipcli.scoring.fitting import FitReport as FitReport
    from clipcli.scoring.probe import ProbeReport as ProbeReport
    from clipcli.scoring.rejection import Rejector as Rejector
    from clipcli.searching import open_gallery as open_gallery
    from clipcli.searching import search as search

_MODULES = {
    "clipcli.api": (
        *("build_classifier", "classify", "encode", "load_classifier", "load_model", "save_classifier"),
        *("save_features", "to_frame"),
    ),
    "clipcli.learning": ("add_rejector", "fit_classifier", "fit_probe", "with_prior"),
    "clipcli.cache": ("FeatureCache",),
    "clipcli.errors": (
        *("ClipcliError", "ClipcliWarning", "ImageError", "ModelError", "ModelMismatchError", "OutputError"),
        *("PromptError", "UnknownModelError", "UsageError", "WeightsDamagedError", "WeightsUnavailableError"),
    ),
    "clipcli.gallery": ("Gallery",),
    "clipcli.images.decode": ("DecodeOptions",),
    "clipcli.known_images": ("KnownImages",),
    "clipcli.records": (
        *(
            "Duplicate",
            "Encoder",
            "Hit",
            "ImageFailure",
            "ImageFeatures",
            "ImagePredictions",
            "Item",
            "LabelGroup",
            "Outcome",
        ),
        "Prediction",
    ),
    "clipcli.scoring.classifier": ("Classifier",),
    "clipcli.scoring.fitting": ("FitReport",),
    "clipcli.scoring.probe": ("ProbeReport",),
    "clipcli.scoring.rejection": ("Rejector",),
    "clipcli.searching": ("open_gallery", "search"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a public name on first use: `import clipcli` alone stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'clipcli' has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = value = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    """All public names, imported yet or not."""
    return sorted({*globals(), *_HOME})
