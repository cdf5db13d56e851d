"""Words to class embeddings: prompts are encoded, and averaged into one embedding per class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipcli.cache import FeatureCache, prompts_digest
from clipcli.prompts.templates import PromptSet, fill
from clipcli.records import Encoder, Float32Array
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.embedding_checks import warn_of_nearly_equal, warn_of_unknown

TEXTS_PER_CALL = 4096
"""Texts that an encoder is given together."""


def build_classifier(
    encoder: Encoder, prompt_set: PromptSet, cache: FeatureCache | None = None
) -> Classifier:
    """Encode prompts and average them into one embedding per class.

    Each prompt's feature has unit norm; a class is the mean of its prompts, normalised again
    (Radford et al. 2021, section 3.1.4, and `open_clip.build_zero_shot_classifier`).

    Args:
        encoder: the model.
        prompt_set: the prompts of C classes.
        cache: where embeddings made before are found, and new ones kept.

    Returns:
        A classifier with (C, D) class embeddings.
    """
    digests = [prompts_digest(prompts) for prompts in prompt_set.prompts]
    embeddings, new = _mean_features(encoder, prompt_set.prompts, digests, cache)
    unknown = _unknown_labels(encoder, prompt_set, digests, new, cache)
    warn_of_unknown(unknown, encoder.name)
    warn_of_nearly_equal(prompt_set, embeddings, set(unknown), encoder.name)
    return Classifier(
        classnames=prompt_set.classnames,
        class_embeddings=embeddings,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        activation=encoder.activation,
        fingerprint=encoder.fingerprint,
        provenance=encoder.provenance(),
        prompts=prompt_set.prompts,
        thresholds=_thresholds(prompt_set),
        parents=prompt_set.parents,
    )


def _thresholds(prompt_set: PromptSet) -> Float32Array | None:
    """(C,) those that the class list has, NaN for a class without one; None if no class has one."""
    if prompt_set.min_scores is None:
        return None
    return np.array(prompt_set.min_scores, dtype=np.float32)  # None becomes NaN


def encode_templates(
    encoder: Encoder, template_sets: Sequence[PromptSet], cache: FeatureCache | None = None
) -> Float32Array:
    """Encode the classes in each template by itself; of several names of a class, the mean.

    Args:
        encoder: the model.
        template_sets: of each of P templates, the prompts of C classes.
        cache: where embeddings made before are found, and new ones kept.

    Returns:
        (P, C, D), unit norm.
    """
    digests = [[prompts_digest(one) for one in prompt_set.prompts] for prompt_set in template_sets]
    pairs = zip(template_sets, digests, strict=True)
    return np.stack([_mean_features(encoder, one.prompts, of_one, cache)[0] for one, of_one in pairs])


def encode_captions(
    encoder: Encoder,
    captions: Sequence[str],
    templates: Sequence[str] = ("{}",),
    cache: FeatureCache | None = None,
) -> Float32Array:
    """Encode captions: each is the mean of all templates filled with it.

    Args:
        encoder: the model.
        captions: M texts.
        templates: sentences with a placeholder; `{}` is the caption as it stands.
        cache: where embeddings made before are found, and new ones kept.

    Returns:
        (M, D), unit norm.
    """
    prompts = _filled(templates, captions)
    return _mean_features(encoder, prompts, [prompts_digest(one) for one in prompts], cache)[0]


def text_features(
    encoder: Encoder,
    texts: Sequence[str],
    templates: Sequence[str] = (),
    cache: FeatureCache | None = None,
) -> Float32Array:
    """`encode_captions` for texts that are searched for: one of which the model knows no part is told."""
    prompts = _filled(templates or ("{}",), texts)
    digests = [prompts_digest(one) for one in prompts]
    features, new = _mean_features(encoder, prompts, digests, cache)
    named = PromptSet(tuple(texts), tuple(prompts), tuple((text,) for text in texts))
    warn_of_unknown(_unknown_labels(encoder, named, digests, new, cache), encoder.name)
    return features


def _filled(templates: Sequence[str], texts: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(dict.fromkeys(fill(one, text) for one in templates)) for text in texts]


def _mean_features(
    encoder: Encoder,
    prompts_of: Sequence[tuple[str, ...]],
    digests: Sequence[bytes],
    cache: FeatureCache | None,
) -> tuple[Float32Array, set[bytes]]:
    """(C, D), from the cache where a class was built before from the same prompts; and what was not there."""
    if cache:
        cache.name_encoder(encoder.text_key, encoder.name)
    found = {digest: cache.features(encoder.text_key, digest) if cache else None for digest in digests}
    missing = {
        digest: prompts for digest, prompts in zip(digests, prompts_of, strict=True) if found[digest] is None
    }
    if missing:
        made = _encode_classes(encoder, list(missing.values()))
        found |= zip(missing, made, strict=True)
        if cache:
            cache.add(encoder.text_key, list(missing), made)
    return np.stack([vector for digest in digests if (vector := found[digest]) is not None]), set(missing)


def _unknown_labels(
    encoder: Encoder,
    prompt_set: PromptSet,
    digests: Sequence[bytes],
    new: set[bytes],
    cache: FeatureCache | None,
) -> list[str]:
    """Labels of which the model knows no name: asked of the new ones, kept in the cache for the others."""
    key = f"unknown to {encoder.text_key}"
    kept = set((cache.recall(key) or {}).get("digests", ())) if cache else set()
    named = zip(digests, prompt_set.names, strict=False)  # made by hand, a prompt set may have no names
    names_of = {digest: names for digest, names in named if digest in new and names}
    names = list(dict.fromkeys(name for names in names_of.values() for name in names))
    ask = getattr(encoder, "unknown_texts", None)  # an encoder of the user's own may lack it
    unknown = set(ask(names)) if ask and names else set()
    found = {digest.hex() for digest, names in names_of.items() if unknown.issuperset(names)}
    if cache and not found <= kept:
        cache.remember(key, {"digests": sorted(kept | found)})
    pairs = zip(prompt_set.classnames, digests, strict=True)
    silent = kept | found
    return [label for label, digest in pairs if digest.hex() in silent]


def _encode_classes(encoder: Encoder, prompts_of: Sequence[tuple[str, ...]]) -> Float32Array:
    """Prompts of C classes -> (C, D); texts that several classes share are encoded once."""
    texts = list(dict.fromkeys(prompt for prompts in prompts_of for prompt in prompts))
    row = {text: index for index, text in enumerate(texts)}
    chunks = [
        encoder.encode_texts(texts[i : i + TEXTS_PER_CALL]) for i in range(0, len(texts), TEXTS_PER_CALL)
    ]
    features = np.concatenate(chunks)  # (M, D)
    means = np.stack([features[[row[prompt] for prompt in prompts]].mean(axis=0) for prompts in prompts_of])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)
