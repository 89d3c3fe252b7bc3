"""Telling detectors, segmenters and models of several inputs from image classifiers, by their keys."""

from __future__ import annotations

import re

from auditor.checkpoint.nets import Shapes

_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("an object detector", (
        r"(^|\.)rpn\.", r"(^|\.)roi_heads\.", r"(^|\.)backbone\.body\.", r"(^|\.)bbox_embed\.", r"(^|\.)class_embed\.",
        r"(^|\.)bbox_head\.", r"(^|\.)head\.(classification|regression)_head\.", r"(^|\.)(extras|loc|conf)\.\d+\.",
        r"(^|\.)dfl\.conv\.", r"(^|\.)anchor_grid$", r"(^|\.)bbox_predictor\.",
    )),
    ("a segmentation model", (
        r"(^|\.)aux_classifier\.", r"(^|\.)decode_head\.", r"(^|\.)segmentation_head\.", r"(^|\.)mask_decoder\.",
        r"(^|\.)(ups?|up_?\d|upconv\d|outc)\.(\d+\.)?(up|conv|double_conv|weight)", r"(^|\.)pixel_decoder\.",
    )),
    ("a model of several inputs (image and text)", (
        r"(^|\.)text_model\.", r"(^|\.)text_projection", r"(^|\.)token_embedding\.", r"(^|\.)logit_scale$",
        r"(^|\.)text_encoder\.", r"(^|\.)qformer\.",
    )),
    ("a language model", (
        r"(^|\.)embed_tokens\.", r"(^|\.)word_embeddings\.", r"(^|\.)lm_head\.", r"(^|\.)wte\.",
    )),
    ("a generative model or autoencoder", (
        r"(^|\.)time_embed\.", r"(^|\.)down_blocks\.", r"(^|\.)decoder\.", r"(^|\.)quant_conv\.",
    )),
)  # fmt: skip


def unsupported(shapes: Shapes) -> str | None:
    """What these weights are when they are no image classifier, such as "an object detector"; else None."""
    if len(shapes.get("classifier.4.weight", ())) == 4:
        return "a segmentation model"
    for kind, patterns in _KINDS:
        joined = re.compile("|".join(patterns))
        if any(joined.search(key[:300]) for key in shapes):
            return kind
    return None
