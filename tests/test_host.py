"""The host program stays as it was: what `import clipcli` and its functions leave untouched.

What other libraries change when they are imported, or build their first model, is theirs: the host of these
tests has done that before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EXAMPLES
from roberta_model import save_roberta

pytestmark = pytest.mark.slow  # processes that import everything

SNAPSHOT = """
import gc, hashlib, locale, logging, os, random, signal, sys, threading, types, warnings
import huggingface_hub, numpy, open_clip, pandas, timm, torch, torchvision, transformers
import open_clip.hf_model, PIL.Image, PIL.ImageFile, safetensors.numpy, safetensors.torch, timm.layers
import scipy.optimize, sklearn.linear_model, sklearn.model_selection

tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
transformers.AutoModel.from_config(transformers.RobertaConfig(vocab_size=8, pad_token_id=0, **tiny))
transformers.AutoTokenizer


def contents(module):
    return {name: id(value) for name, value in vars(module).items() if callable(value)}


def loggers():
    named = {name: one for name, one in logging.root.manager.loggerDict.items() if hasattr(one, "level")}
    states = {
        name: (one.level, one.disabled, one.propagate, [*map(id, one.handlers)], [*map(id, one.filters)])
        for name, one in {"": logging.root, **named}.items()
    }
    return {name: state for name, state in states.items() if state != (0, False, True, [], [])}  # as created


def digest(state):
    return hashlib.sha256(repr(state).encode()).hexdigest()


def snapshot():
    changed_by_patches = (
        open_clip, open_clip.factory, open_clip.model, open_clip.hf_model, open_clip.transformer, timm.layers,
        torch.compiler, torch.nn, torch.nn.init, torch.nn.functional, torch.nn.Module, torch.nn.Linear,
        torch.Tensor, transformers.PreTrainedModel, PIL.Image, PIL.ImageFile, warnings, logging, signal,
    )
    numbered = [one for one in signal.valid_signals() if isinstance(one, signal.Signals)]
    return {
        **{module.__name__: contents(module) for module in changed_by_patches},
        "transformers in open_clip": open_clip.hf_model.transformers is transformers,
        "text towers in open_clip": open_clip.model.HFTextEncoder is open_clip.hf_model.HFTextEncoder,
        "architectures of open_clip": (open_clip.list_models(), list(open_clip.factory._MODEL_CONFIG_PATHS)),
        "what stands for modules": [
            name for name, one in sys.modules.items()
            if not isinstance(one, types.ModuleType) or type(one).__module__.startswith("clipcli")
        ],
        "import": (list(map(id, sys.meta_path)), list(map(id, sys.path_hooks)), list(sys.path)),
        "hooks": [id(one) for one in (sys.excepthook, sys.unraisablehook, threading.excepthook)],
        "signal handlers": {one.name: id(signal.getsignal(one)) for one in numbered},
        "warnings": list(map(repr, warnings.filters)),
        "logging": {"disabled": logging.root.manager.disable, "last": id(logging.lastResort), **loggers()},
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "defaults of torch": (
            torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(), torch.get_float32_matmul_precision(),
        ),
        "random numbers": list(map(digest, (
            torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist(),
        ))),
        "errors of numpy": numpy.geterr(),
        "garbage collection": (gc.isenabled(), gc.get_threshold(), len(gc.callbacks), gc.get_freeze_count()),
        "limits of Pillow": (
            PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES, PIL.ImageFile.MAXBLOCK,
        ),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "limits of Python": (sys.getrecursionlimit(), sys.getswitchinterval()),
        "streams": [id(one) for one in (sys.stdin, sys.stdout, sys.stderr)],
    }


before = snapshot()


def difference(old, new):
    if not isinstance(old, dict):
        return f"{old} became {new}"
    keys = [key for key in {*old, *new} if old.get(key) != new.get(key)]
    return [f"{key}: {old.get(key)} became {new.get(key)}" for key in keys]


def unchanged(after):
    now = snapshot()
    changed = {name: difference(before[name], now[name]) for name in before if now[name] != before[name]}
    assert not changed, f"{after} changed {changed}"


"""

EVERY_FUNCTION = """
from pathlib import Path
import clipcli
called = []

def call(function, *arguments, **options):
    called.append(function)
    result = getattr(clipcli, function)(*arguments, **options)
    result = list(result) if function in ("classify", "encode") else result  # these begin when they are asked
    unchanged(f"{function}, with the model {model},")
    return result

unchanged("import clipcli")
for model in sys.argv[2:]:
    encoder = call("load_model", model, device="cpu")
    classifier = call("build_classifier", encoder, ["bicycle", "cat"])
    outcomes = call("classify", sys.argv[1], encoder, classifier, decoding=call("DecodeOptions"))
    call("to_frame", outcomes)
    cache = call("FeatureCache", Path("cache"))
    for _ in range(2):
        known = call("load_model", model, device="cpu", cache=cache)
        call("encode", [sys.argv[1], numpy.zeros((8, 8, 3), numpy.uint8)], known, cache=cache)
    cache.close()
    unchanged("closing the cache")
    call("save_classifier", classifier, Path("two.safetensors"))
    call("load_classifier", Path("two.safetensors"))
    images = [numpy.full((8, 8, 3), shade, numpy.uint8) for shade in range(0, 240, 10)]
    outcomes = call("encode", images, encoder)
    features = numpy.stack([one.features for one in outcomes])
    truths = ["bicycle", "cat"] * 12
    call("fit_classifier", classifier, features, truths)
    call("fit_probe", encoder, features, truths, classifier)
    call("add_rejector", classifier, encoder, "mcm", 0.5)
    if classifier.activation == "softmax":
        call("with_prior", classifier, [0.9, 0.1])
    gallery = call("open_gallery", images, encoder)
    call("search", "a cat", gallery, encoder)
    call("save_features", outcomes, Path("features.npz"), encoder)
functions = {name for name in clipcli.__all__ if isinstance(getattr(clipcli, name), types.FunctionType)}
missing = functions - {*called}
assert len(functions) > 5 and not missing, f"not called: {missing}"
try:
    clipcli.load_model("no such model")
except Exception as error:
    assert type(error).__name__ == "UnknownModelError", error
unchanged("an error")
"""


def run_host(code: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a host program in a process of its own, in this folder."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, random_model: Callable[[str], Path]) -> list[object]:
    """The bundled model, one with towers of timm, and one with a text tower of transformers."""
    return ["nano", random_model("siglip"), save_roberta(tmp_path_factory.mktemp("roberta"))]


def test_every_function_of_the_api_leaves_the_host_as_it_was(models: list[object], tmp_path: Path) -> None:
    done = run_host(SNAPSHOT + EVERY_FUNCTION, tmp_path, EXAMPLES / "bicycle-1.png", *models)
    assert done.returncode == 0, done.stderr


CHANGES = {
    "logging.basicConfig()": "logging",
    "logging.disable()": "logging",
    "logging.getLogger('timm').setLevel(50)": "logging",
    "warnings.simplefilter('ignore')": "warnings",
    "torch.set_num_threads(torch.get_num_threads() + 1)": "threads of torch",
    "torch.rand(1)": "random numbers",
    "torch.nn.init.normal_ = lambda tensor: tensor": "torch.nn.init",
    "torch.compiler.disable = lambda function: function": "torch.compiler",
    "open_clip.hf_model.transformers = None": "transformers in open_clip",
    "open_clip.factory._MODEL_CONFIG_PATHS.append('x')": "architectures of open_clip",
    "sys.modules['transformers'] = None": "what stands for modules",
    "signal.signal(signal.SIGTERM, lambda *_: None)": "signal handlers",
    "PIL.Image.MAX_IMAGE_PIXELS = None": "limits of Pillow",
    "gc.disable()": "garbage collection",
    "os.environ['OMP_NUM_THREADS'] = '3'": "environment",
}
"""What a library might do, and under which name the snapshot tells it."""


@pytest.mark.long
def test_each_change_would_be_seen(tmp_path: Path) -> None:
    code = f"""{SNAPSHOT}
seen = {{}}
for change in {list(CHANGES)!r}:
    exec(change)
    now = snapshot()
    seen[change] = [name for name in before if now[name] != before[name]]
    before = now
import json
print(json.dumps(seen))
"""
    done = run_host(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {change: [name] for change, name in CHANGES.items()}


@pytest.mark.long
def test_a_thread_of_the_host_gets_initialised_weights_while_a_model_loads(
    models: list[object], tmp_path: Path
) -> None:
    """Layers that another thread creates all the while are drawn as torch draws them."""
    code = """
import sys, threading
import torch
import clipcli
loaded, wrong, made = threading.Event(), [], 0
clipcli.load_model("nano", device="cpu")  # imports what is needed

def load():
    for model in sys.argv[1:] * 3:
        clipcli.load_model(model, device="cpu")
    loaded.set()

thread = threading.Thread(target=load)
thread.start()
while not loaded.is_set():
    weights = torch.nn.Linear(64, 64).weight.detach()
    made += 1
    if not 0.12 < weights.abs().max() <= 0.125 or not 0.06 < weights.std() < 0.09:
        wrong.append(weights)
thread.join()
assert made > 20, made
assert not wrong, f"{len(wrong)} of {made}"
"""
    done = run_host(code, tmp_path, *models)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_messages_of_libraries_are_the_hosts_to_filter(models: list[object], tmp_path: Path) -> None:
    """Loading a model is silent by itself: no line and no warning needs to be held back."""
    code = "import sys, clipcli\nfor model in sys.argv[1:]: clipcli.load_model(model, device='cpu')"
    done = run_host(code, tmp_path, *models)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
