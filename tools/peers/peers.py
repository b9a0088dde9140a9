#!/usr/bin/env python3
"""Times other CPU engines against quantlens: batch 1, 224x224, four networks, f32 and int8; with --precisions f32+cam int8+cam also
the forward pass and EigenCAM together, against pytorch-grad-cam.

peers.py install                 the peers' environment, PyTorch's where there is none, the Rust workers
peers.py models                  the networks in every peer's format (generated weights)
peers.py run --rounds 20 --json OUT.json [--networks ...] [--precisions ...] [--threads ...]
peers.py table OUT.json ...      the table of one or more runs

Everything but the results lies in --home (local/peers). A peer that cannot be installed or run is named below the table.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import report
import rounds
from rounds import Engine, Lane, WorkerError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RUST_WORKERS = ("quantlens", "rten", "tract")
# Made in this order: MNN's int8 comes from its f32.
FORMATS = ("f32.param", "f32.mnn", "f32.tflite", "int8.mnn", "int8.onnx", "int8.xml", "int8.tflite")
# Files of the shared folder: here, there.
SHARED = {"int8.onnx": "int8_u8s8.onnx", "int8.tflite": "int8.tflite"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=ROOT / "local/peers", help="environments, models, logs")
    parser.add_argument("--torch", type=Path, help="a Python with tools/requirements.txt (default: local/venv's, or one made)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="environments and workers")
    commands.add_parser("models", help="the networks in every format")
    run = commands.add_parser("run", help="time, and print the table")
    run.add_argument("--rounds", type=int, default=20)
    run.add_argument("--networks", nargs="+", choices=list(report.NETWORKS), default=list(report.NETWORKS))
    run.add_argument(
        "--precisions", nargs="+", choices=report.PRECISIONS + report.WITH_CAM, default=list(report.PRECISIONS)
    )
    run.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    run.add_argument("--engines", nargs="+", help="only these, and quantlens")
    run.add_argument("--turn", type=float, default=0.1, help="seconds of a turn (default: %(default)s)")
    run.add_argument("--gap", type=float, default=0.05, help="seconds of quiet before a turn (default: %(default)s)")
    run.add_argument("--json", type=Path, help="where the times go")
    run.add_argument("--first", action="store_true", help="turns go before all other work here (Linux, needs root)")
    run.add_argument("--quiet", help="a program that keeps others off the machine while the command it is given runs")
    table = commands.add_parser("table", help="of earlier runs")
    table.add_argument("results", type=Path, nargs="+")
    return parser.parse_args()


class Home:
    """Where things lie."""

    def __init__(self, home: Path, torch: Path | None) -> None:
        self.root = home.resolve()
        self.models, self.logs = self.root / "models", self.root / "logs"
        self.python = self.root / "venv/bin/python"
        ready = ROOT / "local/venv/bin/python"
        self.torch = torch or (ready if ready.exists() else self.root / "venv-torch/bin/python")
        target = os.environ.get("CARGO_TARGET_DIR")
        self.cargo_target = Path(target) if target else self.root / "target"

    def worker(self, name: str) -> Path:
        return self.cargo_target / "release" / f"{name}-worker"

    def engines(self) -> list[Engine]:
        """Every engine, quantlens first."""

        def python(name: str, peer: str, precision: str, suffix: str, function: str, interpreter: Path) -> Engine:
            return Engine(name, peer, precision, suffix, (str(interpreter), str(HERE / "worker.py"), function))

        def rust(name: str, precision: str, suffix: str) -> Engine:
            return Engine(name, name, precision, suffix, (str(self.worker(name)),))

        here, torch = self.python, self.torch
        ours_with_cam = (str(self.worker("quantlens-cam")),)
        return [
            rust(report.US, "f32", "f32.safetensors"),
            rust(report.US, "int8", "int8.safetensors"),
            python("OpenVINO", "OpenVINO", "f32", "f32.onnx", "openvino", here),
            python("ONNX Runtime", "ONNX Runtime", "f32", "f32.onnx", "onnxruntime", here),
            python("LiteRT", "LiteRT", "f32", "f32.tflite", "litert", here),
            python("ncnn", "ncnn", "f32", "f32.param", "ncnn", here),
            python("MNN", "MNN", "f32", "f32.mnn", "mnn", here),
            python("PyTorch", "PyTorch", "f32", "f32.pt", "torch", torch),
            rust("tract", "f32", "f32.onnx"),
            rust("rten", "f32", "f32.onnx"),
            python("OpenVINO QDQ", "OpenVINO", "int8", "int8.onnx", "openvino", here),
            python("OpenVINO NNCF", "OpenVINO", "int8", "int8.xml", "openvino", here),
            python("ONNX Runtime", "ONNX Runtime", "int8", "int8.onnx", "onnxruntime", here),
            python("LiteRT", "LiteRT", "int8", "int8.tflite", "litert", here),
            python("ncnn", "ncnn", "int8", "int8.param", "ncnn", here),
            python("MNN", "MNN", "int8", "int8.mnn", "mnn", here),
            python("PyTorch fbgemm", "PyTorch", "int8", "int8.pt", "torch_fbgemm", torch),
            python("PyTorch qnnpack", "PyTorch", "int8", "int8.pt", "torch_qnnpack", torch),
            rust("tract", "int8", "int8.onnx"),
            rust("rten", "int8", "int8.onnx"),
            Engine(report.US, report.US, "f32+cam", "f32.safetensors", ours_with_cam),
            Engine(report.US, report.US, "int8+cam", "int8.safetensors", ours_with_cam),
            python("pytorch-grad-cam", "PyTorch", "f32+cam", "f32.safetensors", "gradcam", torch),
            python("PyTorch int8", "PyTorch", "int8+cam", "int8.safetensors", "gradcam", torch),
        ]


def attempt(what: str, command: list[str | Path], **options: Any) -> bool:
    """Runs a command; says whether it worked, and with which last line it did not."""
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", **options)
    if result.returncode:
        last = ((result.stderr + result.stdout).strip().splitlines() or ["no message"])[-1]
        print(f"NOT DONE: {what}: {last[:200]}", flush=True)
    else:
        print(f"done: {what}", flush=True)
    return result.returncode == 0


def install(home: Home) -> None:
    """What is there already stays; each part may fail alone."""
    home.root.mkdir(parents=True, exist_ok=True)
    if not home.python.exists():
        venv.create(home.root / "venv", with_pip=True)
    pip = [home.python, "-m", "pip", "install", "-q"]
    for line in requirements("requirements.txt"):
        attempt(line, [*pip, line])
    for line in requirements("requirements-alone.txt"):
        attempt(line, [*pip, "--no-deps", line])
    if not home.torch.exists():
        venv.create(home.root / "venv-torch", with_pip=True)
        pinned = HERE.parent / "requirements.txt"
        attempt("PyTorch", [home.torch, "-m", "pip", "install", "-q", "-r", pinned, "onnx==1.23.2", "grad-cam==1.5.7"])
    for name in RUST_WORKERS:
        build = ["cargo", "build", "--release", "--features", name, "--bins"]
        environment = os.environ | {"CARGO_TARGET_DIR": str(home.cargo_target)}
        attempt(f"{name}-worker", build, cwd=HERE / "rust", env=environment)


def requirements(name: str) -> list[str]:
    """The lines of a file of pins; each is installed by itself, so that one that fails stops no other."""
    lines = (HERE / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def models(home: Home) -> None:
    """Makes what is missing; int8 ONNX and LiteRT models of the shared folder are taken as they are."""
    if not (home.models / f"{list(report.NETWORKS)[-1]}-f32.onnx").exists():
        attempt("PyTorch, ONNX, quantlens", [home.torch, HERE / "make_torch.py", home.models])
    shared = os.environ.get("QUANTLENS_TEST_DATA")
    for suffix in FORMATS:
        for network in report.NETWORKS:
            target = home.models / f"{network}-{suffix}"
            source = Path(shared or "") / "peers/models" / f"{network}_{SHARED.get(suffix, '')}"
            if target.exists():
                continue
            if shared and suffix in SHARED and source.exists():
                shutil.copyfile(source, target)
                print(f"copied: {target.name}")
            else:
                attempt(target.name, [home.python, HERE / "make_converted.py", home.models, network, suffix])


def run(home: Home, args: argparse.Namespace) -> None:
    """Cell by cell: all engines of a network, precision and number of threads take turns."""
    home.logs.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    for network in args.networks:
        for precision in args.precisions:
            for threads in args.threads:
                print(f"{network} {precision}, {threads} threads", file=sys.stderr, flush=True)
                results += cell(home, args, network, precision, threads)
                if args.json:
                    args.json.write_text(json.dumps({"machine": machine(), "results": results}))
    print(report.table(results))


def cell(home: Home, args: argparse.Namespace, network: str, precision: str, threads: int) -> list[dict[str, Any]]:
    """Rows of one cell: an engine's times, or why there are none."""
    rows, lanes = [], []
    for engine in home.engines():
        wanted = not args.engines or engine.name in args.engines or engine.name == report.US
        if engine.precision != precision or not wanted:
            continue
        row = {"network": network, "precision": precision, "threads": threads, "engine": engine.name, "peer": engine.peer}
        try:
            lanes.append((rounds.start(engine, network, threads, home), row))
        except WorkerError as error:
            rows.append(row | {"error": str(error)})
    try:
        with rounds.quiet(args.quiet):
            failed = rounds.run([lane for lane, _ in lanes], args.rounds, args.turn, args.gap, args.first)
        for lane, row in lanes:
            error = next((why for other, why in failed if other is lane), None)
            rows.append(row | ({"error": error} if error else measured(lane, home)))
    finally:
        for lane, _ in lanes:
            lane.stop()
    return rows


def measured(lane: Lane, home: Home) -> dict[str, Any]:
    """A lane's times: of each round the fastest run and the median."""
    return {
        "round_ms": [min(times) for times in lane.rounds],
        "round_median_ms": [sorted(times)[len(times) // 2] for times in lane.rounds],
        "runs_a_round": lane.runs,
        "load_ms": lane.ready["load_ms"],
        "note": lane.ready["note"],
        "cosine": cosine(lane.ready["logits"], home.models / f"{lane.network}-logits.f32"),
    }


def cosine(logits: list[float], reference: Path) -> float | None:
    """Of the logits with PyTorch's in f32: near 1 where an engine has computed this network with these weights."""
    import array

    wanted = array.array("f", reference.read_bytes())
    if len(wanted) != len(logits):
        return None
    dot = sum(a * b for a, b in zip(logits, wanted))
    return dot / (sum(a * a for a in logits) * sum(b * b for b in wanted)) ** 0.5


def machine() -> dict[str, Any]:
    """What the times are of."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes")
    return {"cpu": cpu, "cores": os.cpu_count(), "when": now, "load": os.getloadavg()[0]}


def main() -> None:
    args = parse()
    home = Home(args.home, args.torch)
    if args.command == "install":
        install(home)
    elif args.command == "models":
        models(home)
    elif args.command == "run":
        run(home, args)
    else:
        print(report.table([row for path in args.results for row in json.loads(path.read_text())["results"]]))


if __name__ == "__main__":
    main()
