"""Random views of the masters, whole batches at a time: where, how drawn, on what ground, in what light.

The randomness is torch's own: seed it and the views are the same again. Functions work on (B, C, S, S) floats
between 0 and 1; colours are premultiplied by alpha until a background is laid under them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

MEAN = STD = torch.full((1, 3, 1, 1), 0.5)


@dataclass(frozen=True)
class Chances:
    """How often each change is made to an image.

    Args:
        outline: a dark stroke round the drawing, and along the edges inside it in half of those.
        lines: only the lines are left, in black, as in a colouring book.
        posterise: few colours.
        grey: no colour.
        silhouette: one flat colour (images in one colour are always recoloured).
        shading: light that changes over the image.
        blur: as if scaled up from fewer pixels.
        jitter: brightness, contrast, tint and saturation change; `grey` is a share of these.
    """

    outline: float = 0.25
    lines: float = 0.03
    posterise: float = 0.05
    grey: float = 0.1
    silhouette: float = 0.04
    shading: float = 0.15
    blur: float = 0.1
    jitter: float = 0.5


def views(
    masters: torch.Tensor,
    size: int,
    mono: torch.Tensor,
    flip: torch.Tensor,
    plain: torch.Tensor,
    chances: Chances,
) -> torch.Tensor:
    """Augmented, composited and normalised views.

    Args:
        masters: (B, 4, M, M) premultiplied uint8.
        size: S, of the views.
        mono: (B,) images that take any colour.
        flip: (B,) images whose mirror image shows the same thing.
        plain: (B,) photographs with a ground of their own: only moved a little, mirrored and lit.

    Returns:
        (B, 3, S, S) channels last, ready for the image tower.
    """
    drawn = moved(masters.float() / 255, size, flip, plain)
    fancy, coloured = ~plain, ~plain & ~mono
    ground = backgrounds(len(drawn), size)
    drawn = changed(drawn, _some(coloured, chances.posterise), posterised)
    drawn = changed(drawn, _some(coloured, chances.shading), shaded)
    drawn = changed(drawn, _some(coloured, chances.outline), outlined)
    drawn = changed(drawn, _some(coloured, chances.lines), lines_of)
    flat = mono | _some(fancy, chances.silhouette)
    rgb, alpha = drawn[:, :3], drawn[:, 3:]
    rgb = torch.where(flat[:, None, None, None], alpha * ink(ground), rgb)
    seen = changed(rgb + (1 - alpha) * ground, _some(fancy, chances.blur), blurred)
    seen = changed(
        seen, _some(torch.ones_like(plain), chances.jitter), lambda part: jittered(part, chances.grey)
    )
    return ((seen - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def changed(
    images: torch.Tensor, which: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The images (B, C, S, S), those that (B,) `which` tells changed."""
    if which.any():
        images = images.clone()
        images[which] = change(images[which])
    return images


def _some(where: torch.Tensor, chance: float) -> torch.Tensor:
    """Each of (B,) `where` with a chance -> (B,) bool."""
    return where & (torch.rand(len(where)) < chance)


def _between(count: int, low: float, high: float, channels: int = 1) -> torch.Tensor:
    return torch.empty(count, channels, 1, 1).uniform_(low, high)


def moved(images: torch.Tensor, size: int, flip: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """Shrunk, turned, stretched, shifted and mirrored -> (B, 4, size, size). A third keep their full size."""
    count = len(images)
    zoom = torch.exp(torch.empty(count).uniform_(math.log(0.95), math.log(1.35)))
    zoom = torch.where(torch.rand(count) < 0.35, torch.ones(count), zoom)
    zoom = torch.where(plain, zoom.clamp(max=1.05), zoom)
    angle = torch.randn(count) * 0.13 * (torch.rand(count) < 0.6) * ~plain
    stretch = torch.exp(torch.randn(count) * 0.08)
    mirror = torch.where((torch.rand(count) < 0.5) & flip, -1.0, 1.0)
    shift = ((zoom - 1).clamp(min=0) * 0.8 + 0.05)[:, None] * torch.empty(count, 2).uniform_(-1, 1)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = torch.cos(angle) * zoom * stretch * mirror, -torch.sin(angle) * zoom
    matrix[:, 1, 0], matrix[:, 1, 1] = torch.sin(angle) * zoom * mirror, torch.cos(angle) * zoom / stretch
    matrix[:, :, 2] = shift
    grid = F.affine_grid(matrix, (count, 4, size, size), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def backgrounds(count: int, size: int) -> torch.Tensor:
    """White for most of the images; else light, any colour, textures as of photographs, black."""
    ground = torch.ones(count, 3, size, size)
    which = torch.rand(count)
    light_ones = (which >= 0.6) & (which < 0.69)
    solid = (which >= 0.69) & (which < 0.81)
    ground[light_ones] = _between(int(light_ones.sum()), 0.65, 1, 3).expand(-1, -1, size, size)
    ground[solid] = torch.rand(int(solid.sum()), 3, 1, 1).expand(-1, -1, size, size)
    textured = (which >= 0.81) & (which < 0.96)
    ground[textured] = texture(int(textured.sum()), size)
    ground[which >= 0.96] = 0.0
    return ground


def texture(count: int, size: int) -> torch.Tensor:
    """Noise of several scales added up, coarse strongest: gradients, clouds, foliage -> (count, 3, S, S)."""
    total = _between(count, 0, 1, 3).expand(-1, -1, size, size).clone()
    fineness = _between(count, 0, 1)
    for scale in (2, 4, 8, size // 2):
        noise = F.interpolate(
            torch.rand(count, 3, scale, scale) - 0.5, (size, size), mode="bilinear", align_corners=False
        )
        grey = noise.mean(1, keepdim=True)
        strength = 1.0 if scale == 2 else fineness * 4 / scale**0.5
        total += strength * (0.5 * grey + 0.5 * noise)
    return total.clamp(0, 1)


def shaded(drawn: torch.Tensor) -> torch.Tensor:
    """Under light that changes smoothly, 0.5 to 1.2: (B, 4, S, S) premultiplied."""
    light = torch.empty(len(drawn), 1, 2, 2).uniform_(0.5, 1.2)
    light = F.interpolate(light, drawn.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([drawn[:, :3] * light, drawn[:, 3:]], 1)


def posterised(drawn: torch.Tensor) -> torch.Tensor:
    """Three to six levels a channel."""
    levels = torch.randint(2, 6, (len(drawn), 1, 1, 1))
    return torch.cat([(drawn[:, :3] * levels).round() / levels, drawn[:, 3:]], 1)


def edges_of(drawn: torch.Tensor) -> torch.Tensor:
    """Where colours or the shape change: (B, 4, S, S) -> (B, 1, S, S) between 0 and 1."""
    across = (F.max_pool2d(drawn, 3, 1, 1) + F.max_pool2d(-drawn, 3, 1, 1)).amax(1, keepdim=True)
    return ((across - 0.15) * 4).clamp(0, 1)


def outlined(drawn: torch.Tensor) -> torch.Tensor:
    """A dark stroke of one to three pixels round the shape, and along the edges inside for half of them."""
    count, alpha = len(drawn), drawn[:, 3:]
    width = torch.randint(1, 4, (count, 1, 1, 1))
    wider = F.max_pool2d(alpha, 3, 1, 1)
    widest = F.max_pool2d(wider, 3, 1, 1)
    covered = torch.where(width == 1, wider, torch.where(width == 2, widest, F.max_pool2d(widest, 3, 1, 1)))
    dark = torch.rand(count, 3, 1, 1) * 0.25 * (torch.rand(count, 1, 1, 1) < 0.4)
    inside = edges_of(drawn) * (torch.rand(count, 1, 1, 1) < 0.5)
    inked = drawn[:, :3] + (covered - alpha).clamp(min=0) * dark
    return torch.cat([inked * (1 - inside) + inside * covered * dark, covered], 1)


def lines_of(drawn: torch.Tensor) -> torch.Tensor:
    """The edges alone, in black."""
    edges = edges_of(drawn)
    return torch.cat([torch.zeros_like(drawn[:, :3]), edges], 1)


def ink(ground: torch.Tensor) -> torch.Tensor:
    """A flat colour that is seen on its background; black for half -> (B, 3, 1, 1)."""
    count = len(ground)
    colour = torch.rand(count, 3, 1, 1) * (torch.rand(count, 1, 1, 1) > 0.5)
    behind = ground.mean((1, 2, 3), keepdim=True)
    clash = (behind - colour.mean(1, keepdim=True)).abs() < 0.3
    return torch.where(clash, torch.where(behind > 0.5, colour * 0.2, 1 - colour * 0.2), colour)


def blurred(images: torch.Tensor) -> torch.Tensor:
    """Halved and doubled again."""
    size = images.shape[-1]
    return F.interpolate(F.avg_pool2d(images, 2), (size, size), mode="bilinear", align_corners=False)


def jittered(images: torch.Tensor, grey_chance: float) -> torch.Tensor:
    """Brightness, contrast, tint and saturation changed a little; some images lose all colour."""
    count = len(images)
    images = images * _between(count, 0.9, 1.08, 3) * _between(count, 0.85, 1.1) + _between(
        count, -0.05, 0.05
    )
    images = (images - 0.5) * _between(count, 0.7, 1.2) + 0.5
    grey = images.mean(1, keepdim=True)
    saturation = _between(count, 0.6, 1.3) * (torch.rand(count, 1, 1, 1) >= grey_chance)
    return ((images - grey) * saturation + grey).clamp(0, 1)
