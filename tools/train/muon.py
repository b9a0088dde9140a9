"""Muon (Keller Jordan, 2024): momentum whose matrix is made orthogonal, so that weak directions are learnt as fast as strong ones.

For weights of convolutions that batch norm follows: their length means nothing, so it is held at 1 a row, and the learning rate is the part of it that a step turns.
"""

from __future__ import annotations

import torch

_TURNS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that drives singular values to about 1


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with orthogonal rows or columns, nearly: singular values from 0.7 to 1.2."""
    a, b, c = _COEFFICIENTS
    turned = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if turned else matrix
    x = x / (x.norm() + 1e-12)
    for _ in range(_TURNS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, for weights [O, I, h, w]."""

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                self._turn(weight, group["lr"], group["momentum"])

    def _turn(self, weight: torch.Tensor, rate: float, momentum: float) -> None:
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        mean = state["mean"].lerp_(weight.grad, 1 - momentum)
        direction = orthogonal(weight.grad.lerp(mean, momentum).flatten(1))
        length = weight.shape[0] ** 0.5
        weight.mul_(length / weight.norm())
        weight.sub_(direction.view_as(weight) * (rate * length / direction.norm()))
