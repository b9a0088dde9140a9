"""The training loop: seeded steps, a learning curve, checkpoints that a killed run resumes from."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from distil import Lesson
from muon import Muon
from recipe import Round
from scenes import Scenes, check_parent, plain_batches, training_batch

_CHECKPOINT_SECONDS = 180
_CURVE_STEPS = 100
_EVALUATIONS = 8  # at most, over a training
_COLUMNS = ["step", "images", "size", "learning_rate", "loss", "train_accuracy", "accuracy", "seconds"]


def accuracy(model: nn.Module, scenes: Scenes) -> float:
    """Top-1 accuracy on scenes as they are."""
    model.eval()
    with torch.no_grad():
        hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in plain_batches(scenes))
    return hits / scenes.count


def save(state: Any, path: Path) -> None:
    """torch.save beside `path`, then renamed."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


class Training:
    """One training of one model, at some step."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        round_: Round,
        scenes: Scenes,
        held_out: Scenes,
        folder: Path,
        seed: int,
        weight_decay: float,
        lesson: Lesson | None = None,
    ) -> None:
        self.name, self.model, self.scenes, self.held_out, self.folder = name, model, scenes, held_out, folder
        self.seed, self.lesson, self.maps = seed, lesson, round_.maps
        self.schedule = [phase for phase in round_.phases for _ in range(phase.images // phase.batch)]
        self.images = np.cumsum([0] + [phase.batch for phase in self.schedule])  # before each step
        self.optimizers = _optimizers(lesson or model, round_, weight_decay)
        self.step, self.seconds, self.rows = 0, 0.0, []
        self._resume()

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.checkpoint"

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=False)
        (self.lesson or self.model).load_state_dict(state["model"])
        for optimizer, its_state in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(its_state)
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]
        print(f"{self.folder.name} {self.name}: resumes at step {self.step} of {len(self.schedule)}", flush=True)

    def _save(self) -> None:
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        state = {"model": (self.lesson or self.model).state_dict(), "optimizers": optimizers}
        save(state | {"step": self.step, "seconds": self.seconds, "rows": self.rows}, self.checkpoint)
        with open(self.folder / f"{self.name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(self.rows)

    def run(self, before_step: Callable[[float], None] = lambda progress: None) -> None:
        """Trains to the end; `before_step` is told what share of the steps is done."""
        losses: list[float] = []
        hits: list[float] = []
        saved = time.monotonic()
        every = max(10 * _CURVE_STEPS, len(self.schedule) // _EVALUATIONS // _CURVE_STEPS * _CURVE_STEPS)
        while self.step < len(self.schedule):
            check_parent()
            before_step(self.step / len(self.schedule))
            started = time.monotonic()
            loss, hit = self._one_step()
            self.seconds += time.monotonic() - started
            losses.append(loss)
            hits.append(hit)
            last = self.step == len(self.schedule)
            if self.step % _CURVE_STEPS == 0 or last:
                self._note(losses, hits, evaluate=self.step % every == 0 or last)
                losses, hits = [], []
            if time.monotonic() - saved > _CHECKPOINT_SECONDS or last:
                self._save()
                saved = time.monotonic()

    def _one_step(self) -> tuple[float, float]:
        phase = self.schedule[self.step]
        random = np.random.default_rng([self.seed, self.step])
        x, y = training_batch(self.scenes, self._numbers(), phase, random)
        self.model.train()
        loss, logits = self._loss(x, y)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * self._rate()
            optimizer.step()
        self.step += 1
        return loss.item(), float((logits.argmax(1) == y).float().mean())

    def _loss(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.lesson:
            return self.lesson.loss(x, y, self.maps ** (1 - self.step / len(self.schedule)))
        logits = self.model(x)
        return functional.cross_entropy(logits, y), logits

    def _numbers(self) -> np.ndarray:
        """The scenes of this step: all of them once in a new order, then again."""
        batch, before = self.schedule[self.step].batch, int(self.images[self.step])
        turn, start = divmod(before, self.scenes.count // batch * batch)
        return _order(self.seed, turn, self.scenes.count)[start // batch * batch :][:batch]

    def _rate(self) -> float:
        """The share of the peak's learning rate."""
        done = self.step / len(self.schedule)
        rise = 0.05
        if done < rise:
            return 0.05 + 0.95 * done / rise
        return 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))

    def _note(self, losses: list[float], hits: list[float], evaluate: bool) -> None:
        found = f"{accuracy(self.model, self.held_out):.4f}" if evaluate else ""
        size, images = self.schedule[self.step - 1].size, int(self.images[self.step])
        loss, hit = sum(losses) / len(losses), sum(hits) / len(hits)
        row = [self.step, images, size, f"{self.optimizers[0].param_groups[0]['lr']:.3g}", f"{loss:.4f}", f"{hit:.4f}", found, f"{self.seconds:.0f}"]
        self.rows.append(row)
        print(f"{self.folder.name} {self.name}:", *row, flush=True)


_ORDERS: dict[tuple[int, int, int], np.ndarray] = {}


def _order(seed: int, turn: int, count: int) -> np.ndarray:
    """The order of a pass. The first goes from shard to shard as they are rendered, shuffled within 1000 scenes."""
    if (seed, turn, count) not in _ORDERS:
        _ORDERS.clear()
        random = np.random.default_rng([seed, 1 << 32, turn])
        order = random.permutation(count)
        _ORDERS[seed, turn, count] = order[np.argsort(order // 1000, kind="stable")] if turn == 0 else order
    return _ORDERS[seed, turn, count]


def _optimizers(model: nn.Module, round_: Round, weight_decay: float) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon where the round wants it."""
    turned: list[nn.Parameter] = []
    if round_.turning is not None:
        turned = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1 and m.bias is None]
        turned = [weight for weight in turned if weight.requires_grad]
    rest = _groups(model, weight_decay, {id(weight) for weight in turned})
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=round_.learning_rate, fused=True)]
    return [*optimizers, Muon(turned, round_.turning)] if turned else optimizers


def _groups(model: nn.Module, weight_decay: float, but: set[int]) -> list[dict[str, Any]]:
    """Weight decay for weights of convolutions and linear layers only."""
    trained = [p for p in model.parameters() if p.requires_grad and id(p) not in but]
    matrices, vectors = [p for p in trained if p.dim() > 1], [p for p in trained if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
