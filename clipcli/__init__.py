"""A folder of images and a list of words in, ranked labels out: zero-shot classification with CLIP.

import clipcli

encoder = clipcli.load_model("nano")
classifier = clipcli.build_classifier(encoder, ["cat", "dog", "umbrella"])
frame = clipcli.to_frame(clipcli.classify("images/", encoder, classifier, top_k=3))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipcli.version import __version__

__all__ = [
    "DecodeOptions",
    "__version__",
    "build_classifier",
    "classify",
    "load_classifier",
    "load_model",
    "save_classifier",
    "to_frame",
]

if TYPE_CHECKING:
    from clipcli.api import (
        DecodeOptions,
        build_classifier,
        classify,
        load_classifier,
        load_model,
        save_classifier,
        to_frame,
    )


def __getattr__(name: str) -> Any:
    """Import the API on first use: `import clipcli` alone stays fast."""
    if name in __all__:
        from clipcli import api

        return getattr(api, name)
    raise AttributeError(f"module 'clipcli' has no attribute {name!r}")
