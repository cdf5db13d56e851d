"""Parts of other libraries that are private or undocumented, and that this program relies on all the same.

A new major release may rename any of them without a word. Each is named here with what needs it; its library
must have an upper bound in pyproject.toml. When an entry fails, see what changed, mend the code that needs
it, and correct the entry; when the code needs it no more, remove the entry.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

try:
    import tomllib
except ImportError:  # Python 3.10; pytest brings it there
    import tomli as tomllib


class Internal(NamedTuple):
    """One thing that another library does not promise.

    Args:
        package: the library, as pyproject.toml names it.
        name: module and attribute, with a colon between.
        need: what breaks without it.
        parameters: what it is called with, where it is a function or class.
        check: what else must hold of it.
    """

    package: str
    name: str
    need: str
    parameters: tuple[str, ...] = ()
    check: Callable[[Any], bool] = lambda _: True


def sets(*names: str) -> Callable[[Any], bool]:
    """Whether a class has these attributes, or its code sets them."""

    def check(kind: Any) -> bool:
        source = inspect.getsource(kind)
        return all(hasattr(kind, name) or f"self.{name}" in source for name in names)

    return check


def says(*texts: str) -> Callable[[Any], bool]:
    """Whether the source of a module, class or function has these words."""
    return lambda thing: all(text in inspect.getsource(thing) for text in texts)


OPEN_CLIP = "open_clip_torch"
INTERNALS = (
    Internal(
        "typer",
        "typer.core:TyperOption",
        "cli/commands.py shows help without Python's types; cli/mistakes.py names what a value should be",
        check=sets("is_flag", "metavar", "type_descriptor", "opts", "secondary_opts", "display_type_rich"),
    ),
    Internal(
        "typer",
        "typer.core:TyperArgument",
        "cli/commands.py shows help without Python's types",
        check=sets("param_type_name", "metavar", "display_type_rich"),
    ),
    Internal(
        "typer",
        "typer.core:TyperGroup",
        "cli/commands.py says which command may be meant, and passes errors on",
        check=sets("commands", "get_params", "resolve_command", "make_context", "invoke"),
    ),
    Internal(
        "typer",
        "typer._click:exceptions",
        "cli/mistakes.py knows errors by the names of their classes",
        check=sets("NoArgsIsHelpError", "NoSuchOption", "BadParameter", "MissingParameter"),
    ),
    Internal(
        "rich",
        "rich.console:Console",
        "cli/console.py goes on when nobody reads the messages",
        check=sets("on_broken_pipe"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:CLIP",
        "models/build.py creates models from their configuration",
        ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale", "init_logit_bias"),
        sets(
            "visual", "transformer", "attn_mask", "text_pool_type", "text_eos_id", "logit_scale", "logit_bias"
        ),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:CustomTextCLIP",
        "models/build.py creates models from their configuration",
        ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale", "init_logit_bias"),
        sets("visual", "text", "logit_scale", "logit_bias"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:CoCa",
        "models/build.py creates models from their configuration",
        ("embed_dim", "multimodal_cfg", "vision_cfg", "text_cfg"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:create_model",
        "models/build.py chooses the class of a model by the same rules",
        check=says(
            "multimodal_cfg", "'custom_text'", "hf_model_pretrained", "timm_model_pretrained", "hf_model_name"
        ),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:load_checkpoint",
        "models/build.py loads weights, converted and complete",
        ("model", "checkpoint_path", "strict", "weights_only"),
        says("strict=strict", ".npz"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.model:HFTextEncoder",
        "cli/startup.py puts the import of transformers off",
        check=lambda _: says("from .hf_model import HFTextEncoder")(
            importlib.import_module("open_clip.model")
        ),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:get_pretrained_cfg",
        "models/registry.py reads where a tag's weights are, and its preprocessing",
        ("model", "tag"),
        lambda function: (
            {"hf_hub", "mean", "std", "interpolation", "resize_mode", "quick_gelu"}
            <= function("ViT-B-32", "openai").keys()
        ),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.tokenizer:HFTokenizer",
        "models/build.py loads a tokenizer from a folder",
        ("tokenizer_name", "context_length", "tokenizer_mode"),
        sets("tokenizer", "context_length", "tokenizer_mode"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:SimpleTokenizer",
        "models/build.py tokenizes for CLIP's own text towers",
        ("context_length",),
        lambda kind: "context_length" in inspect.signature(kind.__call__).parameters,
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.transformer:TextTransformer",
        "models/encoder.py encodes texts at their own length",
        check=sets(
            "pool_type",
            "eos_id",
            "attn_mask",
            "cls_emb",
            "token_embedding",
            "positional_embedding",
            "transformer",
            "ln_final",
            "text_projection",
        ),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.transformer:Transformer",
        "models/encoder.py encodes texts at their own length",
        check=sets("get_cast_dtype", "resblocks"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.transformer:text_global_pool",
        "models/encoder.py finds the token that is read",
        ("x", "text", "pool_type", "eos_token_id"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.transformer:VisionTransformer",
        "models/optimize/cls_token.py computes the class token alone",
        check=sets("output_tokens", "transformer", "attn_pool", "pool_type", "positional_embedding"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.transformer:ResidualAttentionBlock",
        "models/optimize/cls_token.py computes one token of the last block",
        check=sets("ln_1", "ln_1_kv", "attn", "ls_1", "ln_2", "mlp", "ls_2", "get_weight_dtype"),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip.zero_shot_metadata:OPENAI_IMAGENET_TEMPLATES",
        "prompts/text_files.py runs this file by itself",
        check=lambda _: (
            "import"
            not in re.sub(
                r"(?s)\(.*", "", inspect.getsource(importlib.import_module("open_clip.zero_shot_metadata"))
            )
        ),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:CLIP.lock_image_tower",
        "train/trainable.py unlocks the last layers",
        ("unlocked_groups",),
    ),
    Internal(
        OPEN_CLIP,
        "open_clip:CLIP.lock_text_tower",
        "train/trainable.py unlocks the last layers",
        ("unlocked_layers",),
    ),
    Internal(
        "torch",
        "torch.compiler:disable",
        "cli/startup.py keeps it from importing the compiler",
        ("fn",),
        says("import torch._dynamo"),
    ),
    Internal(
        "torch",
        "torch._dynamo.utils:is_compile_supported",
        "cli/startup.py puts the import of the compiler off",
        ("device_type",),
    ),
    Internal(
        "torch",
        "torch.nn.init:trunc_normal_",
        "models/build.py skips the steps by which it draws",
        ("tensor", "generator"),
    ),
    Internal("torch", "torch.nn.init:normal_", "models/build.py skips it", ("tensor", "generator")),
    Internal("torch", "torch.nn.init:uniform_", "models/build.py skips it", ("tensor", "generator")),
    Internal("torch", "torch.nn.init:kaiming_uniform_", "models/build.py skips it", ("tensor", "generator")),
    Internal("torch", "torch.nn.init:kaiming_normal_", "models/build.py skips it", ("tensor", "generator")),
    Internal(
        "torch",
        "torch.cpu:_is_avx512_bf16_supported",
        "models/devices.py chooses bf16 where a CPU computes in it; without it fp32",
        check=lambda function: function() in (True, False),
    ),
    Internal(
        "torch",
        "torch.cpu:_is_amx_tile_supported",
        "models/devices.py chooses bf16 where a CPU computes in it; without it fp32",
        check=lambda function: function() in (True, False),
    ),
    Internal(
        "torch",
        "torch.nn.utils.fusion:fuse_conv_bn_eval",
        "models/optimize/fuse_batchnorm.py folds batch norms",
        ("conv", "bn"),
    ),
    Internal(
        "torch",
        "torch.onnx:ONNXProgram",
        "models/optimize/int8.py changes the exported graph, an onnx_ir.Model",
        ("model",),
    ),
    Internal("torch", "torch:_foreach_lerp_", "training/image_tower.py averages weights"),
    Internal(
        "torchvision",
        "torchvision.ops.roi_align:is_compile_supported",
        "cli/startup.py has a stand-in for where it comes from",
        check=lambda _: says("from torch._dynamo.utils import is_compile_supported")(
            importlib.import_module("torchvision.ops.roi_align")
        ),
    ),
    Internal(
        "timm",
        "timm.layers:BatchNormAct2d",
        "models/optimize/fuse_batchnorm.py folds batch norms that hold an activation",
        check=sets("drop", "act"),
    ),
    Internal(
        "timm",
        "timm.models.vision_transformer:VisionTransformer",
        "models/encoder.py reads how many tokens an image has",
        check=sets("pos_embed"),
    ),
    Internal(
        "transformers",
        "transformers.modeling_outputs:BaseModelOutputWithPoolingAndCrossAttentions",
        "models/build.py builds text towers of transformers, for which open_clip imports it",
    ),
    Internal(
        "huggingface_hub",
        "huggingface_hub.file_download:http_get",
        "models/hub.py goes on with a download",
        ("url", "temp_file", "resume_size", "headers", "expected_size", "displayed_filename"),
    ),
    Internal(
        "huggingface_hub",
        "huggingface_hub.file_download:repo_folder_name",
        "models/hub.py finds a repository in the cache",
        ("repo_id", "repo_type"),
    ),
    Internal(
        "huggingface_hub",
        "huggingface_hub.utils:WeakFileLock",
        "models/hub.py downloads once",
        ("lock_file",),
    ),
    Internal("huggingface_hub", "huggingface_hub.utils:build_hf_headers", "models/hub.py asks the hub"),
    Internal("huggingface_hub", "huggingface_hub.constants:HF_HUB_CACHE", "models/hub.py finds the cache"),
    Internal(
        "pillow",
        "PIL.JpegImagePlugin:JpegImageFile",
        "images/decode.py reads what a JPEG calls its channels",
        check=sets("layer", "draft"),
    ),
    Internal(
        "pillow",
        "PIL.ImageFile:ImageFile",
        "images/decode.py keeps what could be read of a damaged image",
        check=sets("tile", "fp"),
    ),
    Internal(
        "pillow",
        "PIL.Image:OPEN",
        "images/decode.py asks which formats this Pillow reads",
        check=lambda registered: isinstance(registered, dict),
    ),
    Internal(
        "xlsxwriter",
        "xlsxwriter.xmlwriter:XMLwriter",
        "output/xlsx/sheet.py stores texts and numbers exactly",
        check=says(
            "def _escape_control_characters(data)",
            "string = self._escape_data(string)",
            "def _xml_inline_string(self, string, preserve, attributes",
            "def _xml_rich_inline_string(self, string, attributes",
            "def _xml_number_element(self, number, attributes",
            "self.fh",
        ),
    ),
    Internal(
        "xlsxwriter",
        "xlsxwriter.worksheet:Worksheet._write_cell",
        "output/xlsx/sheet.py stores texts and numbers exactly",
        check=says(
            "self._escape_control_characters(string)",
            "self._xml_rich_inline_string(string, attributes)",
            "self._xml_number_element(cell.number, attributes)",
        ),
    ),
    Internal(
        "xlsxwriter",
        "xlsxwriter.worksheet:Worksheet._opt_close",
        "output/xlsx/sheet.py closes what a full disk leaves open",
    ),
    Internal(
        "xlsxwriter",
        "xlsxwriter.url:Url",
        "output/xlsx/sheet.py writes the targets of links as they are",
        check=says(
            "def _parse_url(self)",
            "def _escape_strings(self)",
            "return self._relationship_link",
            "self._link_type",
            "self._text",
        ),
    ),
    Internal("onnx", "onnx.parser:parse_function", "models/optimize/int8.py reads its function from text"),
    Internal(
        "onnx-ir",
        "onnx_ir.convenience:replace_nodes_and_values",
        "models/optimize/int8.py replaces products",
        ("graph_or_function", "insertion_point", "old_nodes", "new_nodes", "old_values", "new_values"),
    ),
    Internal(
        "onnx-ir",
        "onnx_ir:Graph.register_initializer",
        "models/optimize/int8.py adds weights of 8 bits",
        ("value",),
    ),
    Internal(
        "onnxscript",
        "onnxscript:__version__",
        "torch's exporter uses it, in versions that torch does not bound",
    ),
    Internal(
        "onnxruntime",
        "onnxruntime:SessionOptions",
        "models/optimize/int8.py runs MatMulIntegerToFloat of the domain com.microsoft",
    ),
    Internal("s3fs", "s3fs:S3FileSystem.call_s3", "remote/listings.py lists page by page"),
    Internal(
        "s3fs",
        "s3fs:S3FileSystem.__init__",
        "remote/clients.py asks it to read an object in one request",
        ("max_concurrency", "config_kwargs"),
    ),
    Internal("s3fs", "s3fs:S3FileSystem", "remote/clients.py asks it to try once", check=sets("retries")),
    Internal(
        "gcsfs",
        "gcsfs.core:GCSFileSystem._request",
        "remote/clients.py asks it to try once",
        ("method", "path", "headers", "data"),
        check=lambda function: inspect.iscoroutinefunction(function.__wrapped__),
    ),
    Internal(
        "gcsfs",
        "gcsfs.core:GCSFileSystem.call",
        "remote/listings.py lists page by page",
    ),
    Internal(
        "gcsfs",
        "gcsfs.core:GCSFileSystem.__init__",
        "remote/clients.py says how long to wait",
        ("requests_timeout",),
    ),
    Internal(
        "gcsfs",
        "gcsfs.retry:validate_response",
        "remote/failures.py knows statuses by what it raises",
        check=says("Forbidden: ", "ProxyError"),
    ),
    Internal(
        "adlfs",
        "adlfs:AzureBlobFileSystem",
        "remote/listings.py lists by its client",
        check=sets("service_client", "split_path"),
    ),
    Internal(
        "azure-storage-blob",
        "azure.storage.blob.aio:BlobServiceClient",
        "remote/clients.py asks all clients that it makes to try once, and to wait no longer than we do",
        check=lambda client: says("_pipeline", "_impl_policies")(client.get_blob_client),
    ),
    Internal(
        "azure-storage-blob",
        "azure.storage.blob._shared.policies:StorageRetryPolicy",
        "remote/clients.py asks it to try once",
        check=sets("total_retries"),
    ),
    Internal(
        "azure-core",
        "azure.core.pipeline.transport:AioHttpTransport.__init__",
        "remote/clients.py says how long to wait",
        check=says("self.connection_config"),
    ),
    Internal(
        "torchcodec", "torchcodec.decoders:decode_jpeg", "models/nvjpeg.py decodes on a GPU; not in its stubs"
    ),
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries, while they are imported
@pytest.mark.parametrize("internal", INTERNALS, ids=lambda internal: internal.name)
def test_internal_is_there(internal: Internal) -> None:
    module, _, attribute = internal.name.partition(":")
    gone = f"{internal.package} changed {internal.name}: {internal.need}"
    try:
        found = reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{gone} ({error})")
    if internal.parameters:
        missing = set(internal.parameters) - set(inspect.signature(found).parameters)
        assert not missing, f"{gone}; it takes no {missing}"
    assert internal.check(found), gone


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda internal: internal.name)
def test_internal_is_needed(internal: Internal) -> None:
    """An entry whose module is no longer there, or no longer uses it, would be kept for nothing."""
    word = internal.need.partition(" ")[0]
    if not word.endswith((".py", "/")):
        return
    path = ROOT / word if word.startswith("training/") else ROOT / "clipcli" / word
    assert path.exists(), f"{word} is gone; who needs {internal.name}?"


def test_every_library_with_internals_has_an_upper_bound() -> None:
    project = tomllib.loads(Path(ROOT, "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    bounds = {one.name: one.specifier for one in map(Requirement, texts)}
    unbounded = {
        internal.package
        for internal in INTERNALS
        if not any(part.operator in ("<", "<=", "==", "~=") for part in bounds[internal.package])
    }
    assert not unbounded, f"give {unbounded} an upper bound in pyproject.toml"


def test_no_private_name_is_used_that_is_not_listed() -> None:
    """In code: `torch._name`, `from library._module import`, and the like."""
    libraries = (
        "torch|torchvision|open_clip|timm|transformers|huggingface_hub|PIL|Image|ImageFile|rich|pandas|pd"
    )
    private = re.compile(rf"\b(?:{libraries})(?:\.\w+)*\.(_[a-z]\w*)")
    listed = {part for internal in INTERNALS for part in re.split(r"[.:]", internal.name)}
    for path in (*ROOT.glob("clipcli/**/*.py"), *ROOT.glob("training/**/*.py")):
        for name in private.findall(path.read_text(encoding="utf-8")):
            assert name in listed, f"{path.relative_to(ROOT)} uses {name}, which is not in INTERNALS"
