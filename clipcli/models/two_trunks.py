"""The image tower of `nano`: a network for photographs, one for drawings, and what tells them apart.

timm has no such network, so importing this module registers it there under the name `NAME`; open_clip then
builds it from a configuration like any other tower of timm.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.models import register_model
from torch import nn

NAME = "clipcli_two_lite0"
SIZE, DRAWING_SIZE = 192, 80  # pixels: of the images, and of the smaller ones that the drawings' network sees
# Of the network for photographs: ImageNet's thousand, eight more, and none of them.
CLASSES = 1009


def resize_matrix(size: int, smaller: int) -> torch.Tensor:
    """The linear map that makes `size` pixels `smaller`, by bicubic interpolation -> (smaller, size)."""
    lines = torch.eye(size).reshape(1, 1, size, size)
    resized = nn.functional.interpolate(
        lines, (smaller, size), mode="bicubic", antialias=True, align_corners=False
    )
    return resized[0, 0]


class TwoTrunks(nn.Module):
    """EfficientNet-Lite0 twice: (B, 3, 192, 192) images -> (B, 2289) features, for a linear projection.

    The first part of the features is how probable each of ImageNet's classes is, so that the projection gives
    the mean of the classes' vectors (ConSE, Norouzi et al. 2014, section 3.2). The second part is what the
    network for drawings sees. Each is weighted by how much the image looks like its kind.
    """

    photographs: Any  # timm's networks
    drawings: Any
    choice: nn.Linear
    smaller: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.photographs = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)
        self.drawings = timm.create_model("efficientnet_lite0", num_classes=0)
        features = self.photographs.num_features + self.drawings.num_features
        self.choice = nn.Linear(features, 1)
        self.num_features = CLASSES + int(self.drawings.num_features)
        self.default_cfg: dict[str, Any] = {}
        self.register_buffer("smaller", resize_matrix(SIZE, DRAWING_SIZE), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 192, 192) -> (B, 2289)."""
        seen = self.photographs.forward_head(self.photographs.forward_features(images), pre_logits=True)
        drawn = self.drawings((self.smaller @ (self.smaller @ images).mT).mT)
        photograph = self.choice(torch.cat([seen, drawn], dim=1)).sigmoid()  # (B, 1)
        classes = self.photographs.classifier(seen).softmax(dim=1)
        return torch.cat([photograph * classes, (1 - photograph) * drawn], dim=1)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Nothing: the features are pooled, and open_clip's projection comes after them."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layer groups as timm counts them, the last of both networks together."""
        return {
            "stem": r"^(?:photographs|drawings)\.(?:conv_stem|bn1)",
            "blocks": [
                (r"^(?:photographs|drawings)\.blocks\.(\d+)", None),
                (r"^(?:photographs|drawings)\.(?:conv_head|bn2|classifier)|^choice", (99999,)),
            ],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in both networks instead of keeping them."""
        self.photographs.set_grad_checkpointing(enable)
        self.drawings.set_grad_checkpointing(enable)


@register_model
def clipcli_two_lite0(pretrained: bool = False, **_: Any) -> TwoTrunks:
    """The network, as `timm.create_model(NAME)` asks for it."""
    return TwoTrunks()
