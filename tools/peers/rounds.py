"""Workers that stay alive, and turns in rounds: one engine runs at a time, and a slow spell of the machine meets all."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Protocol

# The first runs of a turn fetch caches and wake threads; they are not counted.
WARM_RUNS = 2
START_SECONDS = 120.0
TURN_SECONDS = 60.0


class WorkerError(Exception):
    """A worker that did not start, crashed or did not answer."""


@dataclass(frozen=True)
class Engine:
    """One way to run one network: a program (with its first arguments) and the ending of the model file that it reads."""

    name: str
    peer: str  # what the table calls it
    precision: str
    suffix: str
    program: tuple[str, ...]


@dataclass
class Lane:
    """An engine with a network and a number of threads, its worker, and what has been measured."""

    engine: Engine
    network: str
    threads: int
    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    rounds: list[list[float]] = field(default_factory=list)
    runs: int = 1
    lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def read(self, prefix: str, seconds: float) -> str:
        """The next line with this beginning, without it; engines print lines of their own."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise WorkerError(f"no answer in {seconds:.0f} s") from None
            if line is None:
                tail = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
                raise WorkerError(f"ended: {tail[0][:160]}")
            if line.startswith(prefix):
                return line.removeprefix(prefix)

    def time(self, runs: int) -> list[float]:
        """Milliseconds of so many runs."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # its end is read below
            self.process.stdin.write(f"run {runs}\n")
            self.process.stdin.flush()
        return json.loads("[" + self.read("[", TURN_SECONDS))

    @contextmanager
    def awake(self, first: bool) -> Iterator[None]:
        """Lets the worker run. At other times it is stopped: threads of some engines spin while they have nothing to do, and
        would take a core from whose turn it is. `first`: before all other work on the machine."""
        if first:
            realtime(self.process.pid, 1)
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Ends the worker."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what was not yet written is lost
                if pipe is not None:
                    pipe.close()


class Folders(Protocol):
    """Where models and logs lie."""

    models: Path
    logs: Path


def start(engine: Engine, network: str, threads: int, home: Folders) -> Lane:
    """Starts a worker; `WorkerError` where it cannot run this network."""
    model = home.models / f"{network}-{engine.suffix}"
    if not model.exists():
        raise WorkerError(f"{model.name} is not there")
    if not Path(engine.program[0]).exists():
        raise WorkerError("not installed")
    count = str(threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": count,
        "RAYON_NUM_THREADS": count,
        "RTEN_NUM_THREADS": count,
        "CUDA_VISIBLE_DEVICES": "",
    }
    log = home.logs / f"{network}-{engine.name}-{threads}.log"
    command = [*engine.program, str(model), count, str(home.models / "image.f32")]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True,
        )
    lane = Lane(engine, network, threads, process, log)
    threading.Thread(target=_pump, args=(lane,), daemon=True).start()
    try:
        lane.ready = json.loads(lane.read("ready ", START_SECONDS))
    except WorkerError:
        lane.stop()
        raise
    process.send_signal(signal.SIGSTOP)
    return lane


def realtime(process: int, priority: int) -> None:
    """Lets all threads of a process go before all that is not real-time (Linux, needs root); priority 0 ends that."""
    policy = os.SCHED_RR if priority else os.SCHED_OTHER
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


def _pump(lane: Lane) -> None:
    assert lane.process.stdout is not None
    for line in lane.process.stdout:
        lane.lines.put(line)
    lane.lines.put(None)


@contextmanager
def quiet(program: str | None) -> Iterator[None]:
    """While this is open, `program cat` runs: it may hold a lock or stop other work until its command ends."""
    if program is None:
        yield
        return
    with subprocess.Popen([program, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.write("ready\n")
        holder.stdin.flush()
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.stdin.close()


def run(lanes: list[Lane], count: int, turn: float, gap: float, first: bool = False) -> list[tuple[Lane, str]]:
    """`count` rounds of turns of about `turn` seconds, `gap` seconds of quiet before each; which lane goes first rotates.

    `first`: turns go before all other work on this machine.
    Returns the lanes that failed, with the reason; they take no further turn.
    """
    failed: list[tuple[Lane, str]] = []
    alive = list(lanes)
    if first:
        realtime(os.getpid(), 2)  # before the workers, whose turns it ends
    for index in range(-1, count):  # round -1 finds how many runs a turn has
        for place in range(len(alive)):
            lane = alive[(max(index, 0) + place) % len(alive)]
            if any(lane is other for other, _ in failed):
                continue
            try:
                time.sleep(gap)
                with lane.awake(first):
                    warm = lane.time(WARM_RUNS if index >= 0 else 3)
                    if index < 0:
                        lane.runs = max(3, min(500, int(turn * 1e3 / max(min(warm), 1e-3))))
                    else:
                        lane.rounds.append(lane.time(lane.runs))
            except WorkerError as error:
                failed.append((lane, str(error)))
        alive = [lane for lane in alive if not any(lane is other for other, _ in failed)]
        if sys.stderr.isatty():
            print(f"  round {index + 1} of {count}", end="\r", file=sys.stderr, flush=True)
    if first:
        realtime(os.getpid(), 0)
    return failed
