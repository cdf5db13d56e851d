"""Speed of clipcli beside what else classifies images with the same weights: `make bench`.

    .venv/bin/python bench/run.py [PART ...] [--images FOLDER] [--model FOLDER] [--repeats 3] ...

The parts, all of them where none is named (but the last four, which take minutes):

    peers      files to best labels: open_clip's loops, transformers, pybioclip, ONNX Runtime, clipcli
    prompts    class embeddings: clipcli and open_clip
    limits     products of matrices, the forward pass and decoding, each alone
    split      each step of a run alone, and all together: where the time goes, on a GPU where there is one
    large      photographs of 12 megapixels
    agreement  cosine and best label of the faster ways, against fp32 with exact decoding
    cached     whole processes over many images, cold and cached, with their memory
    resume     a run that is killed, and run again
    search     a million random vectors: a whole process, and further queries in one
    archives   images in zip and tar files, beside the same images in a folder

Candidates are processes of their own that run in turn (`child.py`), several times; peers have their own
environment, .venv-bench. What is printed are rates and their ratios to the first candidate: times say more
about the machine than about the program. Start-up is not counted, and is printed apart.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
from pathlib import Path

import open_clip
import torch
from agreement import agreement
from archives import archives
from child import AbsentError, Candidate, Job
from limits import limits
from memory import cached
from PIL import Image
from resume import resumed
from search import searched
from split import split
from timing import in_turn

import clipcli
import clipcli.models.two_trunks  # timm does not have nano's network
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import FileItem
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.locate import ModelFiles, locate
from clipcli.models.registry import parse_model
from clipcli.prompts import templates as prompts
from clipcli.prompts.class_lists import ClassSpec, load_classes
from clipcli.scoring.class_embeddings import build_classifier

HERE = Path(__file__).parent
ROOT = HERE.parent
LONG = ("cached", "resume", "search", "archives")
PARTS = ("peers", "prompts", "limits", "split", "large", "agreement", *LONG)
PEERS = {
    "plain_loop": "open_clip, plain loop, fp32",
    "data_loader": "open_clip, DataLoader, 2 workers",
    "onnx_runtime": "ONNX Runtime, plain loop, fp32",
    "bioclip": "pybioclip, fp32",
    "pipeline": "transformers pipeline, fp32",
}
OURS = {
    "fp32_exact": "clipcli, fp32, exact decode",
    "fp32": "clipcli, fp32",
    "auto": "clipcli, auto",
    "int8": "clipcli, int8",
}
FEW = 6  # images for a candidate that encodes the labels again with every image


# --- Candidates in turn --------------------------------------------------------------------------


def commands(peers_python: str) -> dict[str, tuple[str, str, str]]:
    """Python, file and name of every candidate."""
    theirs = {name: (peers_python, str(HERE / "peers.py"), name) for name in PEERS}
    return theirs | {name: (sys.executable, str(HERE / "ours.py"), name) for name in OURS}


def compare(title: str, names: list[str], job: Job, options: argparse.Namespace) -> None:
    """Run candidates in turn after one warm-up, and report."""
    titles, candidates = PEERS | OURS, []
    print(f"\n{title}, {len(job.paths)} images, {len(job.labels)} labels")
    try:
        for name in names:
            mine = job._replace(paths=job.paths[:FEW]) if name == "pipeline" else job
            try:
                candidates.append(Candidate(titles[name], commands(options.python)[name], mine))
            except AbsentError as error:
                print(f"  {titles[name]}: left out, {error}")
        for turn in range(options.repeats + 1):
            for candidate in candidates:
                candidate.run(counted=turn > 0)
        for candidate in candidates:
            print(line(candidate, candidates[0]))
    finally:
        for candidate in candidates:
            candidate.close()


def line(one: Candidate, first: Candidate) -> str:
    """Rate, ratio to the first candidate turn by turn (lowest to highest), labels in common, start-up."""
    share = one.amount / first.amount
    ratios = [share * a / b for a, b in zip(first.seconds, one.seconds, strict=True)]
    rate = one.amount / statistics.median(one.seconds)
    spread = f"{statistics.median(ratios):>6.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    same = sum(a == b for a, b in zip(first.top1, one.top1, strict=False))
    agreed = "identical top-1" if same == one.amount else f"top-1 {same} of {one.amount}"
    start = f"start {one.start:.1f} s ({one.versions})"
    return f"  {one.title:<34}{rate:>9.2f} images/s {spread:<24} {agreed:<18} {start}"


# --- 12 megapixels -------------------------------------------------------------------------------


def enlarged(paths: list[str], folder: Path, amount: int) -> list[str]:
    """JPEGs of 4000 x 3000 made of the images."""
    made = []
    for number in range(amount):
        path = folder / f"{number:03}.jpg"
        with Image.open(paths[number % len(paths)]) as image:
            image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=90)
        made.append(str(path))
    return made


def large(job: Job, options: argparse.Namespace) -> None:
    """Where decoding is most of the work: the smallest model, the largest images."""
    folder = Path(job.folder, "large")
    folder.mkdir()
    nano = str(ROOT / "clipcli" / "assets" / "nano")
    job = job._replace(paths=enlarged(job.paths, folder, options.large), model=nano)
    compare("JPEGs of 12 megapixels, nano", ["plain_loop", "data_loader", *OURS], job, options)


# --- Prompts -------------------------------------------------------------------------------------


def prompts_part(files: ModelFiles, folder: str, options: argparse.Namespace) -> None:
    """Class embeddings of 80 templates, against `build_zero_shot_classifier`."""
    name = f"local-dir:{folder}"
    model, tokenizer = open_clip.create_model_from_pretrained(name)[0].eval(), open_clip.get_tokenizer(name)
    encoders = {precision: OpenClipEncoder(files, "cpu", precision) for precision in ("fp32", "auto")}
    classes = [spec.name for spec in load_classes("imagenet")[: options.classes]]
    eighty = list(prompts.load_templates(["imagenet80"]))
    prompt_set = prompts.build_prompts([ClassSpec(name) for name in classes], eighty)
    seconds = in_turn(
        {
            "open_clip, fp32": lambda: open_clip.build_zero_shot_classifier(
                model, tokenizer, classes, eighty
            ),
            "clipcli, fp32": lambda: build_classifier(encoders["fp32"], prompt_set),
            f"clipcli, auto ({encoders['auto'].precision})": lambda: build_classifier(
                encoders["auto"], prompt_set
            ),
        },
        min(options.repeats, 3),
    )
    print(f"\nprompts, {len(classes)} classes x 80 templates")
    first = next(iter(seconds.values()))
    for title, times in seconds.items():
        ratios = [a / b for a, b in zip(first, times, strict=True)]
        rate = len(classes) * len(eighty) / statistics.median(times)
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {title:<34}{rate:>9.1f} prompts/s {statistics.median(ratios):>6.2f}x {spread}")


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="which to run")
    parser.add_argument("--images", default=str(ROOT / "examples" / "drawings"))
    parser.add_argument("--amount", type=int, help="of the images, at most", metavar="N")
    parser.add_argument("--model", default=str(ROOT / "clipcli" / "assets" / "nano"), help="a local folder")
    parser.add_argument("--device", default="auto", help="of `split`")
    parser.add_argument("--labels", type=int, default=50, metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--candidates", default=",".join([*PEERS, *OURS]), help="of `peers`, the first is 1")
    parser.add_argument("--classes", type=int, default=20, metavar="N", help="of `prompts`")
    parser.add_argument("--large", type=int, default=60, metavar="N", help="images of 12 megapixels")
    parser.add_argument("--cached", type=int, default=20_000, metavar="N", help="images of `cached`")
    parser.add_argument("--vectors", type=int, default=1_000_000, metavar="N", help="of `search`")
    parser.add_argument("--archived", type=int, default=2000, metavar="N", help="images of `archives`")
    parser.add_argument("--killed", type=int, default=3000, metavar="N", help="images of `resume`")
    parser.add_argument(
        "--python", default=str(ROOT / ".venv-bench" / "bin" / "python"), help="of the peers' environment"
    )
    options = parser.parse_args()
    options.parts = options.parts or [part for part in PARTS if part not in LONG]
    unknown = set(options.parts) - set(PARTS) | set(options.candidates.split(",")) - {*PEERS, *OURS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    """Run the parts that were asked for."""
    options = parsed()
    images = (item.name for item in Inputs((options.images,)) if isinstance(item, FileItem))
    paths = list(itertools.islice(images, options.amount))
    labels = [spec.name for spec in load_classes("imagenet")[: options.labels]]
    model = str(Path(options.model).resolve())
    files = locate(parse_model(f"local-dir:{model}"))
    print(f"clipcli {clipcli.__version__}, open_clip {open_clip.__version__}, torch {torch.__version__}")
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, {model}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLIPCLI_CACHE"] = folder
        threads = torch.get_num_threads()
        job = Job(model, paths, labels, "a photo of a {}.", folder, threads)
        run = {
            "peers": lambda: compare("best labels", options.candidates.split(","), job, options),
            "prompts": lambda: prompts_part(files, model, options),
            "limits": lambda: limits(files, paths, options.repeats),
            "split": lambda: split(files, job, options.device, options.repeats),
            "large": lambda: large(job, options),
            "agreement": lambda: agreement(files, job),
            "cached": lambda: cached(model, paths, options.cached),
            "resume": lambda: resumed(model, paths, options.killed),
            "search": lambda: searched(model, options.vectors),
            "archives": lambda: archives(files, paths, options.archived, options.repeats),
        }
        for part in options.parts:
            run[part]()


if __name__ == "__main__":
    main()
