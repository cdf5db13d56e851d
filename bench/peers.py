"""What clipcli is compared with, as `child.py` serves it: the same weights, images and labels.

The same work is asked of all: the best of the labels for each image. Where a peer encodes the labels apart
from the images, that is not counted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from child import AbsentError, Job, Run, serve
from PIL import Image


def rgb(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def loaded(job: Job) -> tuple[Any, Any, torch.Tensor, str]:
    """open_clip's model, transform, class weights (D, C) and version."""
    import open_clip

    torch.set_num_threads(job.threads)
    know_nano(job)
    name = f"local-dir:{job.model}"
    model, transform = open_clip.create_model_from_pretrained(name)
    tokenizer = open_clip.get_tokenizer(name)
    templates = [job.template.format]
    weights = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, job.labels, templates)
    return model, transform, weights, f"open_clip {open_clip.__version__}, torch {torch.__version__}"


def know_nano(job: Job) -> None:
    """Let timm know the network of `nano`, by a module that needs nothing else of clipcli."""
    if '"clipcli_' in Path(job.model, "open_clip_config.json").read_text():
        sys.path.append(str(Path(__file__).parents[1] / "clipcli" / "models"))
        import two_trunks  # noqa: F401


def best(model: Any, batch: torch.Tensor, weights: torch.Tensor) -> list[int]:
    with torch.no_grad():
        features = model.encode_image(batch, normalize=True)
        logits = model.logit_scale.exp() * features @ weights
    return logits.softmax(dim=-1).argmax(dim=-1).tolist()


def plain_loop(job: Job) -> tuple[Run, str]:
    """As open_clip's README shows: transform image after image, encode in batches."""
    model, transform, weights, versions = loaded(job)

    def run() -> list[int]:
        found: list[int] = []
        for start in range(0, len(job.paths), job.batch):
            images = [transform(rgb(path)) for path in job.paths[start : start + job.batch]]
            found += best(model, torch.stack(images), weights)
        return found

    return run, versions


class Images(torch.utils.data.Dataset[torch.Tensor]):
    """Files as a map-style data set."""

    def __init__(self, paths: list[str], transform: Any) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(rgb(self.paths[index]))


def data_loader(job: Job) -> tuple[Run, str]:
    """With torch's DataLoader and two workers."""
    model, transform, weights, versions = loaded(job)
    images = Images(job.paths, transform)

    def run() -> list[int]:
        batches = torch.utils.data.DataLoader(images, batch_size=job.batch, num_workers=2)
        return [index for batch in batches for index in best(model, batch, weights)]

    return run, versions


def onnx_runtime(job: Job) -> tuple[Run, str]:
    """The image tower on ONNX Runtime in fp32, the loop as in `plain_loop`."""
    import onnxruntime

    model, transform, weights, _ = loaded(job)
    path = str(Path(job.folder, "tower.onnx"))
    tower = _Tower(model).eval()
    example = transform(rgb(job.paths[0])).expand(2, -1, -1, -1)
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(tower, (example,), path, dynamo=True, dynamic_shapes=(batch,), external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run() -> list[int]:
        found: list[int] = []
        for start in range(0, len(job.paths), job.batch):
            images = [transform(rgb(path)) for path in job.paths[start : start + job.batch]]
            (features,) = session.run(None, {name: torch.stack(images).numpy()})
            found += (torch.from_numpy(features) @ weights).argmax(dim=-1).tolist()
        return found

    return run, f"onnxruntime {onnxruntime.__version__}"


class _Tower(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.encode_image(pixels)


def bioclip(job: Job) -> tuple[Run, str]:
    """pybioclip's classifier with labels of one's own."""
    import importlib.metadata

    from bioclip import CustomLabelsClassifier

    torch.set_num_threads(job.threads)
    know_nano(job)
    try:
        classifier = CustomLabelsClassifier(job.labels, model_str=f"local-dir:{job.model}")
    except Exception as error:
        raise AbsentError(f"pybioclip does not load a local model: {' '.join(str(error).split())}") from None

    def run() -> list[int]:
        rows = classifier.predict(job.paths, k=1, batch_size=job.batch)
        return [job.labels.index(row["classification"]) for row in rows]

    return run, f"pybioclip {importlib.metadata.version('pybioclip')}"


# --- Hugging Face --------------------------------------------------------------------------------


def pipeline(job: Job) -> tuple[Run, str]:
    """transformers' zero-shot-image-classification pipeline, as it comes: one image at a time."""
    import transformers

    torch.set_num_threads(job.threads)
    folder = save_for_transformers(job)
    task = "zero-shot-image-classification"
    classify = transformers.pipeline(task, model=folder, device="cpu", dtype=torch.float32)
    template = job.template

    def run() -> list[int]:
        rows = classify(job.paths, candidate_labels=job.labels, hypothesis_template=template)
        return [job.labels.index(row[0]["label"]) for row in rows]

    return run, f"transformers {transformers.__version__}"


def save_for_transformers(job: Job) -> str:
    """The model as transformers' CLIPModel, with its tokenizer and image processor."""
    import open_clip
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    config = json.loads(Path(job.model, "open_clip_config.json").read_text())["model_cfg"]
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not {"layers", "width", "patch_size"} <= vision.keys() or isinstance(vision["layers"], list):
        raise AbsentError("transformers' CLIPModel has no such image tower")
    source = open_clip.create_model_from_pretrained(f"local-dir:{job.model}")[0].state_dict()
    size = {"hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu"}
    model = CLIPModel(
        CLIPConfig(
            projection_dim=config["embed_dim"],
            vision_config=size
            | _shape(vision, vision["width"] // vision.get("head_width", 64))
            | {"image_size": vision["image_size"], "patch_size": vision["patch_size"]},
            text_config=size | _shape(text, text["heads"]) | {"eos_token_id": 49407, "bos_token_id": 49406},
        )
    )
    missing, unknown = model.load_state_dict(dict(_converted(source)), strict=False)
    assert not unknown and all(name.endswith("position_ids") for name in missing), (missing, unknown)
    tokenizer = open_clip.SimpleTokenizer()
    folder = Path(job.folder, "transformers")
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(tokenizer.encoder))
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")
    words = {"bos_token": "<start_of_text>", "eos_token": "<end_of_text>", "unk_token": "<end_of_text>"}
    clip_tokenizer = CLIPTokenizer.from_pretrained(folder, pad_token="<end_of_text>", **words)
    CLIPProcessor(CLIPImageProcessor(), clip_tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def _shape(tower: dict[str, Any], heads: int) -> dict[str, int]:
    return {
        "hidden_size": tower["width"],
        "intermediate_size": 4 * tower["width"],
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": heads,
    }


_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "transformer.resblocks": "text_model.encoder.layers",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "c_fc": "fc1",
    "c_proj": "fc2",
    "attn": "self_attn",
}


def _converted(source: dict[str, torch.Tensor]) -> Any:
    """open_clip's names and shapes to those of transformers."""
    for name, tensor in source.items():
        if name in ("visual.proj", "text_projection"):
            target = "visual_projection" if name == "visual.proj" else name
            yield f"{target}.weight", tensor.T.contiguous()
        elif "in_proj" in name:
            start, _, kind = _renamed(name).rpartition(".in_proj_")
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{start}.{part}_proj.{kind}", piece.contiguous()
        elif name != "attn_mask":
            yield _renamed(name), tensor


def _renamed(name: str) -> str:
    for ours, theirs in _NAMES.items():
        if name == ours or name.startswith(f"{ours}."):
            name = theirs + name[len(ours) :]
            break
    for ours in ("ln_1", "ln_2", "c_fc", "c_proj", "attn"):
        name = name.replace(f".{ours}.", f".{_NAMES[ours]}.")
    return name


if __name__ == "__main__":
    serve(
        {
            "plain_loop": plain_loop,
            "data_loader": data_loader,
            "onnx_runtime": onnx_runtime,
            "bioclip": bioclip,
            "pipeline": pipeline,
        }
    )
