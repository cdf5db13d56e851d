"""The Python API of searching: galleries of images, and what is found in them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath

from clipcli.api import engine_options
from clipcli.cache import FeatureCache
from clipcli.gallery import Gallery, encode_queries
from clipcli.images.decode import DEFAULT, DecodeOptions
from clipcli.inputs.memory import ImageSource, ImageSources, items_of
from clipcli.prompts.templates import load_templates
from clipcli.records import Encoder, Hit
from clipcli.scoring.queries import Query, Term, image_term, minus_term, queries_of, text_term
from clipcli.scoring.search import Cut


def open_gallery(
    images: ImageSources,
    encoder: Encoder,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    decoding: DecodeOptions = DEFAULT,
    cache: FeatureCache | None = None,
) -> Gallery:
    """Encode images to be searched again and again; arguments and errors as in `classify`.

    Returns:
        A gallery; its `failures` are the images that cannot be read.
    """
    gallery = Gallery(encoder, engine_options(encoder, batch_size, workers, decoding), cache)
    for _ in gallery.fill(items_of(images)):
        pass
    return gallery


def search(
    query: str | Sequence[str],
    images: ImageSources | Gallery,
    encoder: Encoder,
    *,
    plus: str | Sequence[str] = (),
    like: Sequence[ImageSource] = (),
    minus: Sequence[ImageSource] = (),
    templates: str | Sequence[str] = (),
    top_k: int | None = 10,
    min_score: float | None = None,
    within: float | None = None,
    cache: FeatureCache | None = None,
) -> list[Hit]:
    """Find the images that are most like a text or an image.

    Args:
        query: what to search for, such as `a red car`, or `2:a red car` to count twice; several are searched
            for one by one. It may be empty if there is something else to search for.
        images: as in `classify`; or a gallery, which takes no time to be searched again.
        encoder: from `load_model`.
        plus: further texts that every query has.
        like: images that every query has.
        minus: texts and images that are subtracted; a text that is the path of a file is an image.
        templates: templates that texts are put into; without them, a text is used as it is.
        top_k: images per query, best first; None is all.
        min_score: the lowest cosine.
        within: how far a cosine may be below the best one.
        cache: where features computed before are found and new ones are kept.

    Returns:
        The images that were found, query by query, best first; of equal scores the earlier image.

    Raises:
        UsageError: a path that does not exist, an image of the query that cannot be read, or a value out of
            its range.
    """
    cut = Cut(top_k, min_score, within)
    queries = _queries(query, plus, like, minus)
    named = [templates] if isinstance(templates, str) else templates
    encoded = encode_queries(queries, encoder, load_templates(named) if named else (), cache=cache)
    gallery = images if isinstance(images, Gallery) else open_gallery(images, encoder, cache=cache)
    return gallery.hits(encoded, cut)


def _queries(
    query: str | Sequence[str],
    plus: str | Sequence[str],
    like: Sequence[ImageSource],
    minus: Sequence[ImageSource],
) -> list[Query]:
    texts = [query] if isinstance(query, str) else list(query)
    terms = [text_term(text) for text in ([plus] if isinstance(plus, str) else plus)]
    terms += [_image_term(image, 1) for image in like]
    terms += [minus_term(one) if isinstance(one, str) else _image_term(one, -1) for one in minus]
    return queries_of([text for text in texts if text or not terms], terms)


def _image_term(image: ImageSource, sign: int) -> Term:
    if isinstance(image, str | PathLike):
        return image_term(fspath(image), sign)
    return Term("image", float(sign), image=image)
