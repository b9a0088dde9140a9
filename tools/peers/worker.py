"""One engine with one model in a process of its own, which times runs when told: worker.py ENGINE MODEL THREADS IMAGE.

Protocol, one line each way (the Rust workers speak it too): first `ready JSON`; then `run N` is answered by N times in
milliseconds as JSON; the end of the input ends the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import engines


def main() -> None:
    warnings.filterwarnings("ignore")
    engine, model, threads, image = sys.argv[1:5]
    load = getattr(engines, engine)
    pixels = np.fromfile(image, "<f4").reshape(engines.INPUT)
    start = time.perf_counter()
    loaded = load(Path(model), int(threads), pixels)
    logits = np.asarray(loaded.logits(loaded.run())).ravel()
    ready = {
        "load_ms": (time.perf_counter() - start) * 1e3,
        "logits": [float(value) for value in logits],
        "note": loaded.note,
    }
    print("ready", json.dumps(ready), flush=True)
    clock, run = time.perf_counter, loaded.run
    for line in sys.stdin:
        times = []
        for _ in range(int(line.split()[1])):
            begin = clock()
            run()
            times.append((clock() - begin) * 1e3)
        print(json.dumps([round(ms, 5) for ms in times]), flush=True)
    os._exit(0)  # some engines crash while the interpreter tears them down


if __name__ == "__main__":
    main()
