"""Tests of the training's parts.  python -m unittest discover -s tools"""

import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "train"))

from distil import Lesson  # noqa: E402
from loop import Training  # noqa: E402
from muon import Muon, orthogonal  # noqa: E402
from quantlens_tools.networks import build_float  # noqa: E402
from recipe import RECIPES, Phase, Round  # noqa: E402


def lesson(maps: bool) -> Lesson:
    torch.manual_seed(3)
    student = build_float("mobilenet_v2", {"width_mult": 0.1, "num_classes": 5})
    teacher = build_float("resnet18", {"base_width": 4, "num_classes": 5})
    return Lesson(student.train(), "mobilenet_v2", teacher, "resnet18", maps)


class Lessons(unittest.TestCase):
    x, y = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])

    def test_a_student_learns_its_teachers_maps(self) -> None:
        taught = lesson(maps=True)
        before = {name: value.clone() for name, value in taught.teacher.state_dict().items()}
        trained = [p for p in taught.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, 3e-3)
        losses = []
        for _ in range(30):
            loss, logits = taught.loss(self.x, self.y, 30.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        self.assertEqual(logits.shape, (4, 5))
        self.assertLess(losses[-1], 0.8 * losses[0])
        for name, value in taught.teacher.state_dict().items():
            self.assertTrue(torch.equal(value, before[name]), name)

    def test_maps_count_by_their_weight(self) -> None:
        taught = lesson(maps=True)
        none, one, many = (taught.loss(self.x, self.y, weight)[0].item() for weight in (0.0, 1.0, 30.0))
        self.assertGreater(one, none)
        self.assertAlmostEqual((many - none) / (one - none), 30.0, delta=0.3)  # differences of f32 sums

    def test_without_maps_there_is_nothing_else_to_train(self) -> None:
        taught = lesson(maps=False)
        trained = sum(p.numel() for p in taught.parameters() if p.requires_grad)
        self.assertEqual(trained, sum(p.numel() for p in taught.student.parameters()))
        taught.loss(self.x, self.y, 30.0)[0].backward()


class Optimizers(unittest.TestCase):
    def test_orthogonal(self) -> None:
        for shape in ((8, 48), (48, 8), (24, 24)):
            made = orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
            lengths = torch.linalg.svdvals(made)
            self.assertGreater(lengths.min().item(), 0.3, shape)
            self.assertLess(lengths.max().item(), 1.3, shape)

    def test_a_step_turns_a_weight_by_its_rate(self) -> None:
        weight = torch.nn.Parameter(torch.randn(16, 8, 1, 1))
        weight.grad = torch.randn(16, 8, 1, 1)
        with torch.no_grad():
            unit = weight * (4 / weight.norm())
        Muon([weight], lr=0.01).step()
        self.assertAlmostEqual((weight - unit).norm().item(), 0.04, places=5)


class Passes(unittest.TestCase):
    def training(self, round_: Round, folder: str) -> Training:
        scenes: Any = SimpleNamespace(count=1024)
        return Training("float", torch.nn.Conv2d(3, 4, 3), round_, scenes, scenes, Path(folder), 7, 0.0)

    def test_a_pass_has_every_scene_once(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            training = self.training(Round((Phase(1024, 32, 32, batch=32), Phase(1024, 32, 32, batch=16)), 1e-3), folder)
        seen = []
        for training.step in range(len(training.schedule)):
            seen.append(training._numbers())
        self.assertEqual([len(numbers) for numbers in seen], [32] * 32 + [16] * 64)
        for turn in (np.concatenate(seen[:32]), np.concatenate(seen[32:])):
            self.assertEqual(sorted(turn), list(range(1024)))


class Recipes(unittest.TestCase):
    def test_teachers_are_trained_before_their_students(self) -> None:
        names = list(RECIPES)
        for recipe in RECIPES.values():
            if recipe.teacher:
                self.assertLess(names.index(recipe.teacher), names.index(recipe.network))
                self.assertIsNone(RECIPES[recipe.teacher].teacher)


if __name__ == "__main__":
    unittest.main()
