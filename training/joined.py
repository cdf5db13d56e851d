"""Both networks in one tower: ImageNet's, which knows photographs, and the one that was trained on drawings.

Neither is trained here. The projection gets a vector for each class of ImageNet, the one that the text tower
gives the class's name, so that a photograph lies where its most probable classes lie (ConSE, Norouzi et al.
2014). Two logistic regressions on the networks' features are fitted: a class for people, whom ImageNet does
not name, and what tells a photograph from a drawing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from clipcli import build_classifier
from clipcli.images.resize import resize
from clipcli.models.two_trunks import SIZE, TwoTrunks
from clipcli.records import Preprocess
from clipcli.stages import load_pixels
from training.captions import ENSEMBLE, photo_classes
from training.evaluate import on_white
from training.image_start import start_weights
from training.photographs import SEEN_LIST, Photograph, photographs
from training.prepare import Material, fashion, training_rows

Weights = dict[str, torch.Tensor]
CONFIG = Path(__file__).with_name("joined.json")
PREPROCESS = Preprocess((SIZE, SIZE), "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)
FURTHER_CLASSES = ("person",)
# What ImageNet's logits are divided by: a class that is less probable tells something too, where no class of
# ImageNet is the right one.
_TEMPERATURE = 1.5
# What the logit of the choice is multiplied by: each network has something to say about images of the other's
# kind, shaded drawings and things cut out of photographs above all.
_CERTAINTY = 0.6
_BATCH = 64
_DRAWINGS = 1200  # that are looked at
_PULL = 0.01  # of weights to 0, in both regressions


class Seen(NamedTuple):
    """What both networks make of N images: (N, F) features of each, (N, C) logits of ImageNet's classes."""

    photographs: torch.Tensor
    drawings: torch.Tensor
    logits: torch.Tensor

    @property
    def features(self) -> torch.Tensor:
        """(N, 2F), as the choice between the networks reads them."""
        return torch.cat([self.photographs, self.drawings], dim=1)

    def part(self, rows: torch.Tensor) -> Seen:
        """The images of these rows."""
        return Seen(self.photographs[rows], self.drawings[rows], self.logits[rows])


def networks(start: Mapping[str, torch.Tensor], drawings: Mapping[str, torch.Tensor]) -> TwoTrunks:
    """Both networks with their weights; what lies beyond ImageNet's classes, and the choice, are 0.

    Args:
        start: the weights of ImageNet's network, in the order of its layers.
        drawings: the state dict of the model of drawings.
    """
    trunk = TwoTrunks().eval().requires_grad_(False)
    state, known = trunk.photographs.state_dict(), list(start.values())
    weight, bias = (torch.zeros_like(state[f"classifier.{name}"]) for name in ("weight", "bias"))
    weight[: len(known[-2])], bias[: len(known[-1])] = known[-2], known[-1]
    trunk.photographs.load_state_dict(dict(zip(state, [*known[:-2], weight, bias], strict=True)))
    prefix = "visual.trunk."
    trunk.drawings.load_state_dict(
        {name.removeprefix(prefix): value for name, value in drawings.items() if name.startswith(prefix)}
    )
    for values in trunk.choice.parameters():
        values.zero_()
    return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@torch.inference_mode()
def look(trunk: TwoTrunks, pixels: Sequence[npt.NDArray[np.uint8]]) -> Seen:
    """What both networks make of (SIZE, SIZE, 3) images, without the further classes."""
    parts = []
    for first in range(0, len(pixels), _BATCH):
        batch = torch.from_numpy(np.stack(pixels[first : first + _BATCH])).permute(0, 3, 1, 2)
        images = (batch.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        seen = trunk.photographs.forward_head(trunk.photographs.forward_features(images), pre_logits=True)
        logits = trunk.photographs.classifier(seen)[:, : len(photo_classes())]
        parts.append(Seen(seen, trunk.drawings(trunk.smaller @ images @ trunk.smaller.T), logits))
    return Seen(*(torch.cat(values).clone() for values in zip(*parts, strict=True)))


def photograph_pixels(found: Sequence[Photograph]) -> Iterator[npt.NDArray[np.uint8]]:
    """Photographs as the model sees them."""
    return (np.asarray(load_pixels(str(each.file), PREPROCESS)) for each in found)


# --- What is fitted ------------------------------------------------------------------------------


class Row(NamedTuple):
    """A logistic regression: weights (F,) and a bias."""

    weight: torch.Tensor
    bias: torch.Tensor


def logistic(features: torch.Tensor, positive: torch.Tensor, against: torch.Tensor) -> Row:
    """The regression that tells images apart, both kinds with the same weight in all.

    Args:
        features: (N, F) of images.
        positive: (N,) bool.
        against: (N,) what the logit must exceed for a share of one half.
    """
    mean, spread = features.mean(0), features.std(0) + 0.1
    scaled, target = (features - mean) / spread, positive.float()
    share = torch.where(positive, target.mean(), 1 - target.mean())
    weight, bias = torch.zeros(features.shape[1], requires_grad=True), against.mean().clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logit = scaled @ weight + bias - against
        total = F.binary_cross_entropy_with_logits(logit, target, weight=0.5 / share)
        total = total + _PULL * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = (weight / spread).detach()
    return Row(found, bias.detach() - found @ mean)


def class_row(seen: Seen, positive: torch.Tensor) -> Row:
    """A further class: its logit exceeds those of ImageNet's together where it is the right one."""
    return logistic(seen.photographs, positive, seen.logits.logsumexp(dim=1))


def choice_row(photographs: Seen, drawings: Seen) -> Row:
    """What tells photographs from drawings, less sure of it than the regression is."""
    features = torch.cat([photographs.features, drawings.features])
    positive = torch.arange(len(features)) < len(photographs.features)
    weight, bias = logistic(features, positive, torch.zeros(len(features)))
    return Row(_CERTAINTY * weight, _CERTAINTY * bias)


def class_vectors(encoder: Any) -> torch.Tensor:
    """Where the text tower has the names of ImageNet's and the further classes, from their mean -> (C, D)."""
    names = [*photo_classes(), *FURTHER_CLASSES]
    different = list(dict.fromkeys(names))
    embeddings = build_classifier(encoder, different, ENSEMBLE).class_embeddings
    by_name = dict(zip(different, torch.from_numpy(embeddings), strict=True))
    vectors = torch.stack([by_name[name] for name in names])
    return vectors - vectors.mean(0)


# --- The whole -----------------------------------------------------------------------------------


def joined(
    trunk: TwoTrunks, drawings: Mapping[str, torch.Tensor], vectors: torch.Tensor, further: Sequence[Row],
    choice: Row, of_photographs: Seen, of_drawings: Seen,
) -> Weights:  # fmt: skip
    """The state dict of the model that holds both; the text tower is that of the model of drawings.

    Args:
        trunk: the networks.
        drawings: the state dict of the model of drawings.
        vectors: (C, D) of all classes.
        further: the regressions of the classes beyond ImageNet's.
        choice: what tells photographs from drawings.
        of_photographs: what the networks make of some, by which the two parts get equal lengths.
        of_drawings: the same of drawings.
    """
    classifier, known = trunk.photographs.classifier, len(photo_classes())
    for number, row in enumerate(further, start=known):
        classifier.weight[number], classifier.bias[number] = row
    classifier.weight.div_(_TEMPERATURE)
    classifier.bias.div_(_TEMPERATURE)
    trunk.choice.weight[0], trunk.choice.bias[0] = choice
    projection = drawings["visual.head.proj.weight"].float()  # (D, F)
    probable = classifier(of_photographs.photographs).softmax(dim=1)
    scale = _mean_length(of_drawings.drawings @ projection.T) / _mean_length(probable @ vectors)
    weights = {name: value for name, value in drawings.items() if not name.startswith("visual.")}
    weights |= {f"visual.trunk.{name}": value for name, value in trunk.state_dict().items()}
    weights["visual.head.proj.weight"] = torch.cat([vectors.T * scale, projection], dim=1)
    return weights


def _mean_length(vectors: torch.Tensor) -> torch.Tensor:
    return vectors.norm(dim=1).mean()


def join(found: Material, work: Path, drawings: Weights, encoder: Any) -> Weights:
    """The model that holds both networks, made from a model of drawings.

    Args:
        found: the masters, of which some are looked at.
        work: the work folder, with the packages.
        drawings: the state dict of the model of drawings.
        encoder: the same model, for its text tower.
    """
    trunk = networks(start_weights(work / "unpacked" / "lite0"), drawings)
    seen = list(photographs(work, SEEN_LIST))
    of_photographs = look(trunk, list(photograph_pixels(seen)))
    of_drawings = look(trunk, drawn_pixels(found, work))
    return fitted_together(
        trunk, drawings, encoder, of_photographs, [each.label for each in seen], of_drawings
    )


def fitted_together(
    trunk: TwoTrunks,
    drawings: Weights,
    encoder: Any,
    of_photographs: Seen,
    labels: Sequence[str],
    of_drawings: Seen,
) -> Weights:
    """Fit the class for people and the choice, by what the networks see -> the state dict of the whole.

    Args:
        trunk: the networks; it is changed.
        drawings: the state dict of the model of drawings.
        encoder: the same model.
        of_photographs: what the networks make of N photographs.
        labels: what each shows: `person`, `person?` where one is part of it, or anything else.
        of_drawings: what they make of drawings.
    """
    every = Seen(*(torch.cat(pair) for pair in zip(of_photographs, of_drawings, strict=True)))
    said = [*labels, *[""] * len(of_drawings.logits)]
    clear = torch.tensor([label != "person?" for label in said])
    people = torch.tensor([label == "person" for label in said])
    further = [class_row(every.part(clear), people[clear])]
    choice = choice_row(of_photographs, of_drawings)
    vectors = class_vectors(encoder)
    return joined(trunk, drawings, vectors, further, choice, of_photographs, of_drawings)


def drawn_pixels(found: Material, work: Path) -> list[npt.NDArray[np.uint8]]:
    """Masters that may be trained on, and clothes of Fashion-MNIST, which the network for drawings knows."""
    rows = training_rows(found.images)
    chosen = np.random.default_rng(0).choice(rows, min(_DRAWINGS, len(rows)), replace=False)
    clothes, _ = fashion(work / "unpacked" / "fashion-mnist", "train")
    shown = [np.repeat(each[..., None], 3, 2) for each in clothes[: _DRAWINGS // 10]]
    images = [*(on_white(found.masters[row]) for row in chosen), *shown]
    return [np.asarray(resize(Image.fromarray(image), PREPROCESS)) for image in images]
