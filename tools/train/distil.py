"""Learning from a trained network: its probabilities, and its feature maps at four depths, beside the scenes' classes.

Depthwise networks learn the surfaces of rendered scenes slowly by classes alone (ShuffleNetV2 needed 250,000 images for its first 30 %).
A teacher's feature maps say at each position of an image what is there.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

# Where a network's feature maps have 1/4, 1/8, 1/16 and 1/32 of the input's side: the last of each.
_TAPS = {
    "resnet18": ("layer1", "layer2", "layer3", "layer4"),
    "mobilenet_v2": ("features.3", "features.6", "features.13", "features.18"),
    "mobilenet_v3_large": ("features.3", "features.6", "features.12", "features.16"),
}
_SOFTNESS = 2.0  # temperature of both networks' probabilities
_CLASSES, _PROBABILITIES = 0.3, 1.0  # weights of two losses. The maps' is a round's own: probabilities teach nothing until there are features


class Tapped(nn.Module):
    """A network that gives its feature maps besides its logits."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = model
        self._maps: list[torch.Tensor] = []
        for path in _TAPS[name]:
            model.get_submodule(path).register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _given: tuple, made: torch.Tensor) -> None:
        self._maps.append(made)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self._maps = []
        logits = self.model(x)
        maps, self._maps = self._maps, []
        return logits, maps


class Lesson(nn.Module):
    """A student beside its teacher. Trained are the student and, with `maps`, a linear view of each of its feature maps as the teacher's."""

    def __init__(self, student: nn.Module, name: str, teacher: nn.Module, teacher_name: str, maps: bool) -> None:
        super().__init__()
        teacher.eval().requires_grad_(False)
        widths = [_widths(student, name), _widths(teacher, teacher_name)] if maps else [[], []]
        self.student, self.teacher = Tapped(student, name), Tapped(teacher, teacher_name)
        self.views = nn.ModuleList(nn.Conv2d(own, wise, 1) for own, wise in zip(*widths))
        self.views.to(memory_format=torch.channels_last)
        for view in self.views:
            nn.init.zeros_(view.weight)

    def loss(self, x: torch.Tensor, y: torch.Tensor, maps: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a batch, with this weight of the maps, and the student's logits."""
        with torch.no_grad():
            wise, wise_maps = self.teacher(x)
        logits, own_maps = self.student(x)
        unexplained = [_unexplained(view(own), wanted) for view, own, wanted in zip(self.views, own_maps, wise_maps)]
        likeness = functional.kl_div(
            (logits / _SOFTNESS).log_softmax(1), (wise / _SOFTNESS).log_softmax(1), reduction="batchmean", log_target=True
        )
        loss = _CLASSES * functional.cross_entropy(logits, y) + _PROBABILITIES * _SOFTNESS**2 * likeness
        return loss + maps * sum(unexplained), logits


def _widths(model: nn.Module, name: str) -> list[int]:
    """How many channels its feature maps have."""
    with torch.no_grad():
        return [made.shape[1] for made in Tapped(copy.deepcopy(model).eval(), name)(torch.zeros(1, 3, 64, 64))[1]]


def _unexplained(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean square distance from the teacher's maps, whose channels are brought to mean 0 and variance 1 over the batch."""
    return functional.mse_loss(found, functional.batch_norm(wanted, None, None, training=True))
