"""Learning rate and weight decay."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small_models import config

from clipcli.models.build import build_random
from clipcli.train.optimizer import lr_at, parameter_groups


def test_the_schedule() -> None:
    made = [lr_at(step, 10, 4, 8.0) for step in range(10)]
    falling = [4 * (1 + math.cos(math.pi * part / 6)) for part in range(6)]
    assert made == pytest.approx([2, 4, 6, 8, *falling])
    assert lr_at(0, 1, 0, 8.0) == 8.0


def test_biases_gains_and_temperature_have_no_weight_decay(tmp_path: Path) -> None:
    model = build_random(config(tmp_path, init_logit_bias=-10.0), seed=0)
    model.visual.proj.requires_grad_(False)
    names = {id(weight): name for name, weight in model.named_parameters()}
    with_decay, without = (
        {names[id(weight)] for weight in group["params"]} for group in parameter_groups(model, 0.3)
    )
    assert [group["weight_decay"] for group in parameter_groups(model, 0.3)] == [0.3, 0.0]
    assert {"visual.conv1.weight", "text_projection", "positional_embedding"} <= with_decay
    assert {"logit_scale", "logit_bias", "ln_final.weight", "visual.ln_pre.bias"} <= without
    assert "visual.class_embedding" in without
    assert not any(name.endswith("bias") for name in with_decay)
    assert with_decay | without == set(names.values()) - {"visual.proj"}


def test_what_is_one_row_of_numbers_has_no_weight_decay_however_it_is_written() -> None:
    """FastViT's gains are (C, 1, 1), class tokens of timm (1, 1, C)."""
    model = torch.nn.Module()
    shapes = {"gamma": (8, 1, 1), "cls_token": (1, 1, 8), "pos_embed": (1, 4, 8), "depthwise": (8, 1, 3, 3)}
    for name, shape in shapes.items():
        model.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))
    names = {id(weight): name for name, weight in model.named_parameters()}
    decayed, without = (
        [names[id(weight)] for weight in group["params"]] for group in parameter_groups(model, 0.1)
    )
    assert (decayed, without) == (["pos_embed", "depthwise"], ["gamma", "cls_token"])
    decayed, without = (group["params"] for group in parameter_groups(model, 0.1, no_decay={"pos_embed"}))
    assert [names[id(weight)] for weight in decayed] == ["depthwise"]
    assert [names[id(weight)] for weight in without] == ["gamma", "cls_token", "pos_embed"]
