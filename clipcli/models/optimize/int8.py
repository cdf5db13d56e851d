"""The image tower in 8 bits, on ONNX Runtime: what the precision int8 encodes images with.

The tower is exported once, its products with weights are replaced by integer ones, the result is compared
with fp32 and kept in the cache folder. Why it is done so (figures in bench/RESULTS.md):

- Activations are quantised by row, that is by token, with a scale of its own for each. One scale for a
  whole tensor, as `onnxruntime.quantization.quantize_dynamic` has it, makes an image's features depend on
  the batch it is in, and one outlying token coarsens all others. By row is as fast.
- Weights are quantised by output column to -64..64. CPUs without VNNI add two products in 16 bits, which
  overflow when weights take all 8 bits: that costs a cosine of 0.01, without a word. With 7 bits every
  CPU computes the same integers.
- One image a call, one call a thread: no slower than batches that share all threads.
- Convolutions stay in fp32, so that networks made of them gain only what ONNX Runtime itself gains. What
  such a network makes of its pooled features stays so too: it takes hardly any time, and in `nano` they are
  probabilities beside numbers a thousand times as large, so that one scale would round them to nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from clipcli.cache import TOWERS
from clipcli.errors import ClipcliError, ClipcliWarning, ModelError, UsageError
from clipcli.files import replacing
from clipcli.libraries import INT8_RECIPE, version_of
from clipcli.records import Float32Array

LEAST_COSINE = 0.98
"""Towers that come out further from fp32 than this are refused."""

_WEIGHT_MAX = 64
_PACKAGES = ("onnxruntime", "onnx", "onnxscript", "onnx-ir", "torch", "open_clip_torch")
_DOMAIN = "clipcli"
_MATMUL_BY_ROW = """
<domain: "clipcli", opset_import: ["" : OPSET, "com.microsoft" : 1]>
MatMulByRow (x, weight, weight_scale, width) => (y) {
    last = Constant <value = int64[1] {-1}> ()
    depth = Shape <start = -1> (x)
    flat = Concat <axis = 0> (last, depth)
    rows = Reshape (x, flat)
    size = Abs (rows)
    peak = ReduceMax <keepdims = 0> (size, last)
    most = Constant <value = float {127.0}> ()
    least = Constant <value = float {1e-30}> ()
    fraction = Div (peak, most)
    scale = Max (fraction, least)
    count = Shape (scale)
    zero = Constant <value = uint8 {128}> ()
    zeros = Expand (zero, count)
    quantized = QuantizeLinear <axis = 0> (rows, scale, zeros)
    one = Constant <value = float {1.0}> ()
    product = com.microsoft.MatMulIntegerToFloat (quantized, weight, one, weight_scale, zero)
    column = Unsqueeze (scale, last)
    scaled = Mul (product, column)
    outer = Shape <start = 0, end = -1> (x)
    shape = Concat <axis = 0> (outer, width)
    y = Reshape (scaled, shape)
}
"""  # x (..., K) float32, weight (K, C) int8, weight_scale (C,), width = [C] -> y (..., C)


class Int8Tower:
    """An image tower, ready to run.

    Args:
        data: an ONNX model that takes one image, as `make` returns it.
    """

    def __init__(self, data: bytes) -> None:
        runtime = needed("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: Float32Array) -> Float32Array:
        """(N, 3, H, W) normalised pixels -> (N, D) features, each of its image alone, in one thread."""
        return np.concatenate([self._encode_one(image) for image in np.split(batch, len(batch))])

    def _encode_one(self, image: Float32Array) -> Float32Array:
        return cast(Float32Array, self._session.run(None, {self._input: image})[0])


def load(model: torch.nn.Module, size: tuple[int, int], fingerprint: str, folder: Path) -> Int8Tower:
    """The tower that an earlier run kept, or else a new one.

    Args:
        model: an open_clip model in fp32 on the CPU.
        size: (height, width) of its images.
        fingerprint: identity of its weights and configuration.
        folder: the cache folder; towers lie in `int8` below it.

    Raises:
        UsageError: the extra is not installed.
        ModelError: the tower cannot be exported, or comes out too far from fp32.
    """
    needed("onnxruntime")
    versions = "-".join(map(version_of, _PACKAGES))
    name = f"{fingerprint}-{hashlib.sha256(f'{INT8_RECIPE}-{versions}'.encode()).hexdigest()[:8]}"
    data = _kept(folder / TOWERS, name)
    if data is None:
        data = make(model, size)
        _keep(folder / TOWERS, name, data)
    return Int8Tower(data)


def needed(module: str) -> Any:
    """Import a module of the extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"int8 needs {module}, which is not installed", "pip install 'clipcli[int8]'"
        ) from error


# --- Kept files: NAME-DIGEST.onnx, where DIGEST is of the content ----------------------------------


def _kept(folder: Path, name: str) -> bytes | None:
    """The content of a file whose digest is right; a damaged one is removed."""
    for path in sorted(folder.glob(f"{name}-*.onnx")):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if path.stem == f"{name}-{_digest(data)}":
                return data
            path.unlink()
    return None


def _keep(folder: Path, name: str, data: bytes) -> None:
    path = folder / f"{name}-{_digest(data)}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as partial:
            partial.write_bytes(data)
    except (OSError, ClipcliError) as error:
        message = f"the int8 model cannot be kept in {folder} ({error}); the next run will make it again"
        warnings.warn(message, ClipcliWarning, stacklevel=3)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


# --- Making ----------------------------------------------------------------------------------------


def make(model: torch.nn.Module, size: tuple[int, int]) -> bytes:
    """Export, quantise and check; returns an ONNX model for one image (1, 3, H, W) -> (1, D).

    Raises:
        UsageError: the extra is not installed.
        ModelError: the tower cannot be exported, or comes out too far from fp32.
    """
    for module in ("onnx", "onnxscript", "onnx_ir"):
        needed(module)
    try:
        data = _quantized(_exported(model, size))
        images = _check_images(size)
        found = Int8Tower(data)(images)
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"this model's image tower cannot run in int8: {reason}", _OTHERWISE) from error
    with torch.inference_mode():
        expected = torch.cat([_encode(model, image[None]) for image in torch.from_numpy(images)])
    cosine = float(torch.nn.functional.cosine_similarity(torch.from_numpy(found), expected).mean())
    if not cosine >= LEAST_COSINE:
        raise ModelError(f"in int8 this model's features have a cosine of {cosine:.3f} to fp32", _OTHERWISE)
    return data


_OTHERWISE = "Use the precision fp32, or bf16 where the CPU has it."


class _Tower(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return _encode(self.model, pixels)


def _encode(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return cast(torch.Tensor, model.encode_image(pixels))


def _exported(model: torch.nn.Module, size: tuple[int, int]) -> Any:
    """The tower as an `onnx_ir.Model`."""
    image = torch.zeros(1, 3, *size)
    program = torch.onnx.export(_Tower(model).eval(), (image,), dynamo=True, verbose=False)
    assert program is not None
    return program.model


def _quantized(model: Any) -> bytes:
    """Replace every product with a weight matrix by `MatMulByRow`, and serialise."""
    ir = needed("onnx_ir")
    graph = model.graph
    nodes = list(graph)
    convolutions = sum(node.op_type == "Conv" for node in nodes)  # one alone makes patches of an image
    for node in nodes:
        if _has_weight_matrix(node) and not (convolutions > 1 and _is_of_one_row(node)):
            _replace(graph, node, ir)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
    text = _MATMUL_BY_ROW.replace("OPSET", str(model.opset_imports[""]))
    function = ir.from_proto(needed("onnx.parser").parse_function(text))
    model.functions[function.identifier()] = function
    model.opset_imports.update({_DOMAIN: 1, "com.microsoft": 1})
    return cast(bytes, ir.to_proto(model).SerializeToString())


def _has_weight_matrix(node: Any) -> bool:
    """MatMul or plain Gemm with a constant second factor (K, C)."""
    if node.domain or node.op_type not in ("MatMul", "Gemm"):
        return False
    weight = node.inputs[1]
    scaled = any(_attribute(node, name, 1.0) != 1.0 for name in ("alpha", "beta"))
    constant = weight.is_initializer() and len(weight.shape) == 2
    return bool(constant and not scaled and not _attribute(node, "transA", 0))


def _is_of_one_row(node: Any) -> bool:
    """Whether the first factor is a vector, as pooled features are: (1, K)."""
    return all(length == 1 for length in node.inputs[0].shape[:-1])


def _attribute(node: Any, name: str, default: float) -> float:
    return cast(float, node.attributes[name].value) if name in node.attributes else default


def _replace(graph: Any, node: Any, ir: Any) -> None:
    """x @ weight + bias, with the product in integers."""
    weight = node.inputs[1].const_value.numpy()
    weight = weight.T if _attribute(node, "transB", 0) else weight  # (K, C)
    scale = np.maximum(np.abs(weight).max(axis=0) / _WEIGHT_MAX, 1e-30).astype(np.float32)
    width = np.array([weight.shape[1]])
    constants = [
        _constant(graph, ir, f"{node.outputs[0].name}_{name}", array)
        for name, array in (
            ("weight", np.rint(weight / scale).astype(np.int8)),
            ("scale", scale),
            ("width", width),
        )
    ]
    made = [ir.node("MatMulByRow", [node.inputs[0], *constants], domain=_DOMAIN)]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        made.append(ir.node("Add", [made[0].outputs[0], node.inputs[2]]))
    ir.convenience.replace_nodes_and_values(graph, node, [node], made, node.outputs, made[-1].outputs)


def _constant(graph: Any, ir: Any, name: str, array: np.ndarray[Any, Any]) -> Any:
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _check_images(size: tuple[int, int]) -> Float32Array:
    """(8, 3, H, W): blotches of random colours, from coarse to fine, the same every time."""
    generator = torch.Generator().manual_seed(0)
    blotches = [torch.randn(1, 3, 2 + 3 * n, 2 + 3 * n, generator=generator) for n in range(8)]
    grown = [torch.nn.functional.interpolate(one, size, mode="bilinear") for one in blotches]
    return cast(Float32Array, torch.cat(grown).numpy())
