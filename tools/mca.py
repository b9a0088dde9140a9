#!/usr/bin/env python3
"""Predicts the speed of the aarch64 kernels' inner loops on cores that are not here, by llvm-mca.

mca.py --cargo CARGO        compiles the kernels with this cargo for aarch64 (it may be a wrapper that sets the target)
mca.py KERNELS.s            takes assembly that is there already (cargo rustc -p quantlens-kernels --lib --release -- --emit asm)

Of each kernel the innermost loop with the most multiply-adds an instruction counts, which is that of a full tile. llvm-mca assumes that all loads hit
the first-level cache and that branches are foretold; a core's peak is what the same model gives for a loop of nothing but
the kernel's multiply-adds on registers. So these are predictions about loops, not times of layers.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# The newest first; older ones than 19 lack models of some of the cores.
MCA = ("llvm-mca-22", "llvm-mca-21", "llvm-mca-20", "llvm-mca-19", "llvm-mca")
ITERATIONS = 200
CORES = ("cortex-a55", "cortex-a76", "neoverse-n1")
# The three cores above have no such instructions; this one does.
CORES_I8MM = ("neoverse-n2",)

# Products of an instruction, by its name and the arrangement of its first operand.
PRODUCTS = {
    ("fmla", "4s"): 4,
    ("smull", "8h"): 8,
    ("smull2", "8h"): 8,
    ("umull", "8h"): 8,
    ("umull2", "8h"): 8,
    ("smlal", "4s"): 4,
    ("smlal2", "4s"): 4,
    ("mla", "8h"): 8,
    ("mla", "4s"): 4,
    ("sdot", "4s"): 16,
    ("udot", "4s"): 16,
    ("usdot", "4s"): 16,
    ("smmla", "4s"): 32,
    ("usmmla", "4s"): 32,
}


@dataclass(frozen=True)
class Kernel:
    """A kernel with the part of its functions' mangled names, and the instructions of one step of its peak."""

    name: str
    symbol: str
    peak: tuple[str, ...]
    cores: tuple[str, ...] = CORES


FMLA = ("fmla v{d}.4s, v30.4s, v31.4s",)
# A product of bytes to i16, and its pairs added to i32 sums.
WIDEN = ("smull v{t}.8h, v30.8b, v31.8b", "sadalp v{d}.4s, v{t}.8h")
SMLAL = ("smlal v{d}.4s, v30.4h, v31.4h",)
KERNELS = [
    Kernel("f32 gemm, neon", "aarch64..gemm_f32", FMLA),
    # The strips of `depthwise_f32` and `expand_f32` are the same functions, of which compilers keep one.
    Kernel("f32 depthwise, neon", "ExpandF32Kernel$GT$9depthwise", FMLA),
    Kernel("int8 gemm, neon", "aarch64..gemm_u8..", WIDEN),
    Kernel("int8 gemm, neon-dot", "aarch64..gemm_u8_dot", ("sdot v{d}.4s, v30.16b, v31.16b",)),
    Kernel("int8 gemm, neon-i8mm", "aarch64..gemm_u8_i8mm", ("smmla v{d}.4s, v30.16b, v31.16b",), CORES_I8MM),
    Kernel("int8 depthwise, neon", "aarch64..depthwise_u8", SMLAL),
    Kernel("int8 depthwise, neon-dot", "aarch64..depthwise_dot", ("sdot v{d}.4s, v30.16b, v31.16b",)),
]


@dataclass(frozen=True)
class Loop:
    """The instructions of a loop, its branch included, and its products."""

    lines: tuple[str, ...]
    products: int


def products(line: str) -> int:
    """Multiply-adds of one instruction."""
    found = re.match(r"\s*(\w+)(?:\.\w+)?\s+v\d+\.(\w+)", line)
    return PRODUCTS.get((found[1], found[2]), 0) if found else 0


def functions(assembly: str) -> dict[str, list[str]]:
    """Lines of each function: from its label to its end."""
    out: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in assembly.splitlines():
        label = re.match(r"(_[ZR]\S+):", line)
        if label:
            current = out.setdefault(label[1], [])
        elif line.startswith(".Lfunc_end"):
            current = None
        elif current is not None and not re.match(r"\s*(\.[a-z]|//|$)", line):
            current.append(line.split("//")[0].rstrip())
    return out


def loops(lines: list[str]) -> list[Loop]:
    """The innermost loops: from a label to a branch back to it, with no other such branch and no call between."""
    labels = {line[:-1]: place for place, line in enumerate(lines) if line.startswith(".L") and line.endswith(":")}
    spans = []
    for end, line in enumerate(lines):
        target = re.match(r"\s+(?:b\.\w+|b|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\w+)$", line)
        if target and labels.get(target[1], end) < end:
            spans.append((labels[target[1]], end))
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    out = []
    for start, end in inner:
        body = tuple(line for line in lines[start : end + 1] if not line.endswith(":"))
        if not any(re.match(r"\s+blr?\s", line) for line in body):
            out.append(Loop(body, sum(map(products, body))))
    return out


def kernel_loop(named: dict[str, list[str]], symbol: str) -> Loop | None:
    """The loop with the most products an instruction among the functions of a kernel; the shorter of equals."""
    matching = [lines for name, lines in named.items() if symbol in name or legacy(symbol) in name]
    candidates = [loop for lines in matching for loop in loops(lines) if loop.products]
    return max(candidates, key=lambda loop: (loop.products / len(loop.lines), -len(loop.lines)), default=None)


def legacy(symbol: str) -> str:
    """The path as it stands in the name of a plain function: each part after its length."""
    return "".join(f"{len(part)}{part}" for part in symbol.split("..") if part)


def cycles(mca: str, core: str, lines: tuple[str, ...]) -> float:
    """Cycles of one round, once many are under way."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={core}", f"-iterations={ITERATIONS}", "-json"]
    # The last line branches to a label that is not there; its place is kept by a branch to the next instruction.
    text = "\n".join([re.sub(r"\.L\w+$", "1f", line) for line in lines] + ["1:"])
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{mca} for {core}: {result.stderr.strip().splitlines()[:3]}")
    start = result.stdout.index("{")
    return json.loads(result.stdout[start:])["CodeRegions"][0]["SummaryView"]["TotalCycles"] / ITERATIONS


def peak(mca: str, core: str, step: tuple[str, ...]) -> float:
    """Products a cycle of many independent steps."""
    sums = 20 if len(step) == 1 else 12
    lines = tuple(text.format(d=place, t=place + 14) for text in step for place in range(sums))
    return sum(map(products, lines)) / cycles(mca, core, lines)


def assembly_of(cargo: str) -> Path:
    """Compiles the kernels as one unit and returns their assembly."""
    command = [cargo, "rustc", "-p", "quantlens-kernels", "--lib", "--release", "--message-format=json", "--"]
    command += ["--emit", "asm", "-C", "codegen-units=1", "-C", "debuginfo=0"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for line in result.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and "quantlens_kernels" in message["target"]["name"]:
            # The library itself is copied elsewhere; the assembly lies beside its metadata.
            metadata = next((Path(name) for name in message["filenames"] if name.endswith(".rmeta")), None)
            if metadata:
                return metadata.with_name(metadata.name.removeprefix("lib")).with_suffix(".s")
    raise SystemExit("cargo named no metadata of quantlens-kernels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assembly", type=Path, nargs="?", help="of the kernels, for aarch64")
    parser.add_argument("--cargo", help="compile with this")
    parser.add_argument("--show", action="store_true", help="print the loops too")
    args = parser.parse_args()
    mca = next((path for name in MCA if (path := shutil.which(name))), None)
    if mca is None:
        raise SystemExit("llvm-mca is not there: install LLVM's tools (Debian: llvm-19)")
    if not (args.assembly or args.cargo):
        parser.error("give an assembly file or --cargo")
    named = functions((args.assembly or assembly_of(args.cargo)).read_text())
    print("| kernel | core | instructions | multiply-adds | cycles | a cycle | peak a cycle | share |\n|-|-|-|-|-|-|-|-|")
    for kernel in KERNELS:
        loop = kernel_loop(named, kernel.symbol)
        if loop is None:
            print(f"| {kernel.name} | no loop found | | | | | | |")
            continue
        for core in kernel.cores:
            took, most = cycles(mca, core, loop.lines), peak(mca, core, kernel.peak)
            rate = loop.products / took
            print(
                f"| {kernel.name} | {core} | {len(loop.lines)} | {loop.products} | {took:.1f} | {rate:.1f} | {most:.1f} "
                f"| {100 * rate / most:.0f} % |"
            )
        if args.show:
            print("\n".join(["", "```", *loop.lines, "```", ""]))


if __name__ == "__main__":
    main()
