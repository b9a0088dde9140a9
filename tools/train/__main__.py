"""Trains the default pack: four narrow networks on rendered scenes, and their int8 twins.

    cargo build --release && python tools/train --quantlens target/release/quantlens --work local/train --out weights

One command does everything: renders the scenes, trains the float networks (the MobileNets with ResNet18 for a teacher), quantizes
them, exports eight model files, and measures their accuracy on 5,000 fresh scenes. With --out the model files, settings and learning curves are put there. It may be
killed at any time; the same command goes on from the last checkpoint (every three minutes). --jobs networks are trained at a time, each on one thread: on few cores that is faster than one on all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402

from quantlens_tools import errors  # noqa: E402
from quantlens_tools.errors import ToolError  # noqa: E402
from recipe import RECIPES, Recipe, shortened  # noqa: E402
from scenes import Cache, Scenes  # noqa: E402
from stages import train_one  # noqa: E402

HELD_OUT = 2_000  # scenes of the split `calibration`
CARD = 5_000  # scenes of the split `card`


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tools/train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quantlens", type=Path, required=True, help="the quantlens command, which renders the scenes")
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes, checkpoints and results")
    parser.add_argument("--out", type=Path, help="folder for the finished pack: pack/ and training/ in it")
    parser.add_argument("--networks", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="networks at a time (default: one a core)")
    parser.add_argument("--share", type=float, default=1.0, help="of the recipe's images: 0.01 tries the whole way out")
    parser.add_argument("--one", choices=list(RECIPES), help=argparse.SUPPRESS)  # a job: this network in this process
    return parser.parse_args()


def recipes(args: argparse.Namespace) -> list[Recipe]:
    return [shortened(RECIPES[name], args.share) for name in args.networks]


def check_teachers(args: argparse.Namespace) -> None:
    """A network that learns from another would wait for it forever, were that neither trained nor in training."""
    for recipe in recipes(args):
        teacher = recipe.teacher
        if teacher and teacher not in args.networks and not (args.work / teacher / "float.pth").exists():
            raise ToolError(f"{recipe.network} learns from {teacher}: name it too (--networks {teacher} {recipe.network})")


def measured(share: float) -> dict[str, int]:
    """How many scenes settings are judged by, and the final networks."""
    return {"calibration": max(100, int(HELD_OUT * min(share, 1))), "card": max(100, int(CARD * min(share, 1)))}


def job(args: argparse.Namespace, recipe: Recipe) -> None:
    """A process of its own for one network, so that each has its engine and thread."""
    command = [sys.executable, str(HERE), "--quantlens", str(args.quantlens), "--work", str(args.work)]
    command += ["--share", str(args.share), "--one", recipe.network]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if subprocess.run(command, env=environment).returncode != 0:
        raise ToolError(f"{recipe.network} failed")


def collect(work: Path, networks: list[str], out: Path) -> None:
    """Puts the finished networks' model files into `out/pack`, and how they came to be into `out/training`."""
    pack, training = out / "pack", out / "training"
    for folder in (pack, training):
        folder.mkdir(parents=True, exist_ok=True)
    for name in networks:
        for precision in ("f32", "int8"):
            shutil.copyfile(work / name / f"{name}-{precision}.safetensors", pack / f"{name}-{precision}.safetensors")
        for path in [work / name / "settings.json", work / name / "results.json", *(work / name).glob("*.csv")]:
            shutil.copyfile(path, training / f"{name}-{path.name}")
    size = sum(path.stat().st_size for path in pack.glob("*.safetensors"))
    print(f"{pack}: {size / 1e6:.2f} MB")


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    args = parse()
    if not args.quantlens.is_file():
        raise ToolError(f"{args.quantlens}: there is no such command; build it with `cargo build --release`")
    cache = Cache(args.work / "scenes", args.quantlens.resolve())
    if args.one:
        torch.set_num_threads(1)
        recipe = shortened(RECIPES[args.one], args.share)
        held_out, card = (Scenes(cache, split, count) for split, count in measured(args.share).items())
        train_one(recipe, args.work / recipe.network, Scenes(cache, "train", recipe.scenes), held_out, card)
        return
    check_teachers(args)
    most = max(recipe.scenes for recipe in recipes(args))
    rendering = cache.fill(measured(args.share) | {"train": most})
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        jobs = [pool.submit(job, args, recipe) for recipe in recipes(args)]
        for done in jobs:
            done.result()
    rendering.join()
    results = {r.network: json.loads((args.work / r.network / "results.json").read_text()) for r in recipes(args)}
    (args.work / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    if args.out:
        collect(args.work, args.networks, args.out)


if __name__ == "__main__":
    errors.run(main)
