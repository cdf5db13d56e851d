"""The files for clusters are what Ray itself accepts, and `bench/scale.py` names the slowest stage."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray warns of itself

ROOT = Path(__file__).parent.parent
FILES = ROOT / "docs" / "cluster"


def test_ray_up_accepts_the_cluster_for_aws() -> None:
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    config = yaml.safe_load((FILES / "aws.yaml").read_text())
    whole = fillout_defaults(config)
    validate_config(whole)
    assert whole["available_node_types"]["encoder"]["max_workers"] == 10


def test_ray_accepts_what_its_operator_makes_of_the_manifest() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.util import validate_config

    manifest = yaml.safe_load((FILES / "kuberay.yaml").read_text())
    config = _derive_autoscaling_config_from_ray_cr(manifest)
    validate_config(config)
    encoders = config["available_node_types"]["encoders"]
    assert (encoders["max_workers"], encoders["resources"]["GPU"]) == (10, 1)
    assert config["available_node_types"][config["head_node_type"]]["resources"]["CPU"] == 0


@pytest.fixture(scope="module")
def scale() -> Any:
    spec = importlib.util.spec_from_file_location("scale", ROOT / "bench" / "scale.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["scale"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_slowest_stage_decides(scale: Any) -> None:
    one = scale.Measured(2, 100e3, 50_000, 100.0, 20.0, 40_000)
    # two machines of 16 cores and a GPU: 3,200 decoded, 5,000 encoded, 4,000 read
    assert scale.Machines(2, 16, 1, 2500, 200, 0).rates(one).slowest == ("decoded", 3200)
    assert scale.Machines(2, 16, 1, 2500, 100, 0).rates(one).slowest == ("read", 2000)
    assert scale.Machines(2, 64, 1, 2500, 1e6, 0).rates(one).slowest == ("encoded", 5000)
    assert scale.Machines(100, 64, 8, 2500, 1e6, 0).rates(one).slowest == ("listed", 50_000)


def test_without_gpus_decoding_and_encoding_take_turns(scale: Any) -> None:
    one = scale.Measured(2, 100e3, 50_000, 100.0, 20.0, 40_000)
    stage, rate = scale.Machines(1, 2, 0, 0, 1e6, 0).rates(one).slowest
    assert rate == pytest.approx(1 / (1 / 200 + 1 / 20))
    assert stage in ("decoded", "encoded")
