"""From the times of a run to the table: the best peer of each cell, quantlens, their ratio with its interval.

A round's time of an engine is the fastest run of its turn. The ratio of a cell is the geometric mean over rounds of peer / quantlens,
both of the same round; its 95 % interval is Student's over the logarithms of those ratios. A cell's peer is the one with the
lowest median over rounds.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

NETWORKS = {
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_large": "MobileNetV3-L",
    "resnet18": "ResNet18",
    "shufflenet_v2_x0_5": "ShuffleNetV2 x0.5",
}
# Ratio peer / quantlens to reach, by network and precision.
TARGETS = {
    "mobilenet_v2": {"f32": 1.1, "int8": 1.5, "f32+cam": 8.0},
    "mobilenet_v3_large": {"f32": 1.15, "int8": 1.6, "f32+cam": 8.0},
    "resnet18": {"f32": 1.5, "int8": 1.0, "f32+cam": 3.0},
    "shufflenet_v2_x0_5": {"f32": 1.4, "int8": 1.9, "f32+cam": 8.0},
}
PRECISIONS = ("f32", "int8")
WITH_CAM = ("f32+cam", "int8+cam")  # the forward pass and EigenCAM
US = "quantlens"


@dataclass(frozen=True)
class Ratio:
    """peer / quantlens with its 95 % interval; without one for fewer than two rounds."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the interval says."""
        return "faster" if self.low > 1 else "slower" if self.high < 1 else "undecided"


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's distribution: exact for 1 and 2 degrees, else Cornish and Fisher's expansion."""
    if degrees < 3:
        return {1: 12.706, 2: 4.303}[degrees]
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / degrees**power for power, term in enumerate(terms))


def paired(peer: list[float], ours: list[float]) -> Ratio:
    """The ratio of times that belong together round by round."""
    logs = [math.log(p / o) for p, o in zip(peer, ours)]
    mean = statistics.fmean(logs)
    half = student(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def cells(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a network, precision and number of threads that quantlens and a peer have."""
    out = []
    for network in NETWORKS:
        for precision in PRECISIONS + WITH_CAM:
            for threads in sorted({row["threads"] for row in results}):
                rows = [r for r in results if (r["network"], r["precision"], r["threads"]) == (network, precision, threads)]
                timed = [row for row in rows if row.get("round_ms")]
                ours = next((row for row in timed if row["peer"] == US), None)
                peers = sorted((r for r in timed if r["peer"] != US), key=lambda r: statistics.median(r["round_ms"]))
                if ours and peers:
                    out.append(cell(network, precision, threads, ours, peers))
    return out


def cell(network: str, precision: str, threads: int, ours: dict[str, Any], peers: list[dict[str, Any]]) -> dict[str, Any]:
    """quantlens against the fastest peer, and what all peers took."""
    best = peers[0]
    ratio = paired(best["round_ms"], ours["round_ms"])
    return {
        "network": network,
        "precision": precision,
        "threads": threads,
        "rounds": len(ours["round_ms"]),
        "best_peer": best["engine"],
        "peer_ms": statistics.median(best["round_ms"]),
        "quantlens_ms": statistics.median(ours["round_ms"]),
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "verdict": ratio.verdict,
        "target": TARGETS[network].get(precision),
        "all_ms": {row["engine"]: statistics.median(row["round_ms"]) for row in peers},
    }


def table(results: list[dict[str, Any]]) -> str:
    """The table in Markdown, the geometric mean, every engine's time, and who is missing."""
    all_cells = cells(results)
    lines = [
        "| network | precision | threads | best peer | its ms | quantlens ms | ratio | 95 % interval | | to reach |",
        "|-|-|-|-|-|-|-|-|-|-|",
    ]
    for c in all_cells:
        lines.append(
            f"| {NETWORKS[c['network']]} | {c['precision']} | {c['threads']} | {c['best_peer']} | {c['peer_ms']:.3f} "
            f"| {c['quantlens_ms']:.3f} | {c['ratio']:.2f} | {c['low']:.2f} to {c['high']:.2f} | {c['verdict']} | {c['target'] or '-'} |"
        )
    lines += [f"\n{summary(some)}" for some in with_and_without_cam(all_cells) if some]
    return "\n".join([*lines, "", *engines(all_cells), *missing(results)])


def with_and_without_cam(all_cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The cells of inference alone, and those with a CAM, whose ratios are of another size."""
    return [[c for c in all_cells if c["precision"] in precisions] for precisions in (PRECISIONS, WITH_CAM)]


def summary(some: list[dict[str, Any]]) -> str:
    """The geometric mean of cells, and in how many quantlens is faster."""
    mean = math.exp(statistics.fmean(math.log(c["ratio"]) for c in some))
    reached = sum(c["target"] is not None and c["ratio"] >= c["target"] for c in some)
    faster = sum(c["verdict"] == "faster" for c in some)
    rounds = " or ".join(map(str, sorted({c["rounds"] for c in some})))
    what, wanted = (" with CAM", "") if some[0]["precision"] in WITH_CAM else ("", " (to reach: 1.4)")
    return (
        f"Geometric mean of {len(some)} cells{what}: {mean:.2f}{wanted}. "
        f"Faster in {faster}, target reached in {reached}; {rounds} rounds."
    )


def engines(all_cells: list[dict[str, Any]]) -> list[str]:
    """Every engine's milliseconds."""
    lines = ["Every peer, ms, fastest first:", ""]
    for c in all_cells:
        times = ", ".join(f"{name} {ms:.3f}" for name, ms in c["all_ms"].items())
        lines.append(f"- {NETWORKS[c['network']]} {c['precision']}, {c['threads']} threads: {times}")
    return lines


def missing(results: list[dict[str, Any]]) -> list[str]:
    """Engines that could not be timed, each with its reason, once."""
    reasons: dict[str, list[str]] = {}
    for row in results:
        if row.get("error"):
            what = f"{row['network']} {row['precision']}"
            reasons.setdefault(f"{row['engine']}: {row['error']}", []).append(what)
    if not reasons:
        return []
    return ["", "Not timed:", "", *(f"- {why} ({', '.join(dict.fromkeys(on))})" for why, on in reasons.items())]
