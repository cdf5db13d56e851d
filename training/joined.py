"""Both networks in one tower: ImageNet's, which knows photographs, and the one that was trained on drawings.

Neither is trained here. The projection gets a vector for each class of ImageNet, the one that the text tower
gives the class's name, synonyms and kinds, so that a photograph lies where its most probable classes lie
(ConSE, Norouzi et al. 2014). Logistic regressions on the networks' features are fitted: further classes that
ImageNet lacks, people and receipts among them, and what tells a photograph from a drawing. One class more is
none of them; the less a photograph looks like any class, the less sure its scores are.
"""

from __future__ import annotations

import itertools
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
from training.class_words import ClassWords, class_words
from training.evaluate import on_white
from training.image_start import start_weights
from training.pages import KINDS, drawn
from training.photographs import SEEN_LIST, Photograph, photographs
from training.prepare import Material, fashion, training_rows

Weights = dict[str, torch.Tensor]
CONFIG = Path(__file__).with_name("joined.json")
PREPROCESS = Preprocess((SIZE, SIZE), "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)
# What ImageNet lacks, with other words for it.
FURTHER_CLASSES = (
    ClassWords("person", ("man", "woman", "people"), ()),
    ClassWords("city", ("skyline", "cityscape"), ()),
    ClassWords("screenshot", ("user interface",), ()),
    ClassWords("document", ("text", "page of text"), ()),
    ClassWords("receipt", ("bill",), ()),
    ClassWords("chart", ("graph",), ()),
    ClassWords("map", ("street map",), ()),
    ClassWords("QR code", ("barcode",), ()),
)
# What ImageNet's logits are divided by: a class that is less probable tells something too, where no class of
# ImageNet is the right one.
_TEMPERATURE = 1.5
# What the logit of the choice is multiplied by: each network has something to say about images of the other's
# kind, shaded drawings and things cut out of photographs above all.
_CERTAINTY = 0.3
# The weights of a class's synonyms and of its nearest kind, where its name has 1; each kind farther up has
# the next share of the one below.
_SYNONYMS, _KIND, _FARTHER = 1.0, 0.3, 0.7
# The logit of none of the classes, and the length of its vector, where those of the others have about 1.
_NONE, _AWAY = 10.0, 2.0
_BATCH = 64
_DRAWINGS = 1200  # that are looked at
_PAGES = 100  # of each kind
_DOUBT = 0.5  # which the logits of further classes lose: few images show any, but for people
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


def class_vectors(encoder: Any, words: Sequence[ClassWords]) -> torch.Tensor:
    """Where the classes lie: ImageNet's and the further ones, from their mean, and none of them -> (C, D).

    Args:
        encoder: the model whose text tower it is.
        words: of ImageNet's classes.
    """
    every = [*words, *FURTHER_CLASSES]
    said = (text for each in every for text in (each.name, *each.synonyms, *itertools.chain(*each.kinds)))
    texts = list(dict.fromkeys(said))
    embeddings = torch.from_numpy(build_classifier(encoder, texts, ENSEMBLE).class_embeddings)
    place = dict(zip(texts, embeddings, strict=True))
    vectors = torch.stack([_class_vector(each, place) for each in every])
    return torch.cat([vectors - vectors.mean(0), _AWAY * unused_direction(embeddings)[None]])


def _class_vector(words: ClassWords, place: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The mean of a class's words, weighted: (D,) unit norm."""
    total = place[words.name]
    if words.synonyms:
        total = total + _SYNONYMS * _mean_direction([place[word] for word in words.synonyms])
    for number, kind in enumerate(words.kinds):
        total = total + _KIND * _FARTHER**number * _mean_direction([place[word] for word in kind])
    return F.normalize(total, dim=0)


def _mean_direction(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    return F.normalize(torch.stack(list(vectors)).mean(0), dim=0)


def unused_direction(embeddings: torch.Tensor) -> torch.Tensor:
    """The direction that (N, D) embeddings have the least of -> (D,) unit norm."""
    _, directions = torch.linalg.eigh(embeddings.T @ embeddings)
    return directions[:, 0]


# --- The whole -----------------------------------------------------------------------------------


def joined(
    trunk: TwoTrunks, drawings: Mapping[str, torch.Tensor], vectors: torch.Tensor, further: Sequence[Row],
    choice: Row, of_photographs: Seen, of_drawings: Seen,
) -> Weights:  # fmt: skip
    """The state dict of the model that holds both; the text tower is that of the model of drawings.

    Args:
        trunk: the networks.
        drawings: the state dict of the model of drawings.
        vectors: (C, D) of all classes; none of them is the last.
        further: the regressions of the classes beyond ImageNet's.
        choice: what tells photographs from drawings.
        of_photographs: what the networks make of some, by which the two parts get equal lengths.
        of_drawings: the same of drawings.
    """
    classifier, known = trunk.photographs.classifier, len(photo_classes())
    for number, row in enumerate(further, start=known):
        classifier.weight[number], classifier.bias[number] = row
    classifier.bias[-1] = _NONE
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


def part_for_drawings(weights: Weights) -> Weights:
    """The state dict of the model of drawings that is a part of one that holds both, or is this itself."""
    trunk, whole, projection = "visual.trunk.", "visual.trunk.drawings.", "visual.head.proj.weight"
    found = {
        trunk + name.removeprefix(whole): value for name, value in weights.items() if name.startswith(whole)
    }
    if not found:
        return weights
    found |= {name: value for name, value in weights.items() if not name.startswith("visual.")}
    features = weights["visual.trunk.choice.weight"].shape[1] // 2
    return found | {projection: weights[projection][:, -features:]}


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
    shown = [Shown(look(trunk, list(photograph_pixels(seen))), [each.label for each in seen])]
    grounds = [np.asarray(load_pixels(str(each.file), PREPROCESS)) for each in seen if not each.label]
    for kind in KINDS:
        pages = [fitted_page(page) for page in drawn(kind, _PAGES, seed=0, photos=grounds)]
        shown.append(Shown(look(trunk, pages), [kind] * len(pages)))
    of_drawings = look(trunk, drawn_pixels(found, work))
    return fitted_together(trunk, drawings, encoder, class_words(found.wordnet), shown, of_drawings)


class Shown(NamedTuple):
    """What the networks make of N images that are no drawings, and what each of them shows.

    Args:
        seen: what the networks make of them.
        labels: a further class, with `?` after it where it is a part of what is seen; or anything else.
    """

    seen: Seen
    labels: Sequence[str]


def fitted_together(
    trunk: TwoTrunks,
    drawings: Weights,
    encoder: Any,
    words: Sequence[ClassWords],
    shown: Sequence[Shown],
    of_drawings: Seen,
) -> Weights:
    """Fit the further classes and the choice, by what the networks see -> the state dict of the whole.

    Args:
        trunk: the networks; it is changed.
        drawings: the state dict of the model of drawings.
        encoder: the same model.
        words: of ImageNet's classes.
        shown: photographs first, then images of other kinds.
        of_drawings: what the networks make of drawings.
    """
    every = _all([*(each.seen for each in shown), of_drawings])
    said = [*(label for each in shown for label in each.labels), *[""] * len(of_drawings.logits)]
    further = [_further(every, said, each.name) for each in FURTHER_CLASSES]
    choice = choice_row(_all([each.seen for each in shown]), of_drawings)
    vectors = class_vectors(encoder, words)
    return joined(trunk, drawings, vectors, further, choice, shown[0].seen, of_drawings)


def _further(every: Seen, said: Sequence[str], name: str) -> Row:
    """The regression of one further class, without the images of which it is a part."""
    clear = torch.tensor([label != f"{name}?" for label in said])
    right = torch.tensor([label == name for label in said])
    weight, bias = class_row(every.part(clear), right[clear])
    return Row(weight, bias if name == "person" else bias - _DOUBT)


def _all(parts: Sequence[Seen]) -> Seen:
    return Seen(*(torch.cat(values) for values in zip(*parts, strict=True)))


def fitted_page(page: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) as the model sees it."""
    return np.asarray(resize(Image.fromarray(page), PREPROCESS))


def drawn_pixels(found: Material, work: Path) -> list[npt.NDArray[np.uint8]]:
    """Masters that may be trained on, and clothes of Fashion-MNIST, which the network for drawings knows."""
    rows = training_rows(found.images)
    chosen = np.random.default_rng(0).choice(rows, min(_DRAWINGS, len(rows)), replace=False)
    clothes, _ = fashion(work / "unpacked" / "fashion-mnist", "train")
    shown = [np.repeat(each[..., None], 3, 2) for each in clothes[: _DRAWINGS // 10]]
    images = [*(on_white(found.masters[row]) for row in chosen), *shown]
    return [np.asarray(resize(Image.fromarray(image), PREPROCESS)) for image in images]
