"""Tests of the export: every form a model comes in gives the same tensors.  python -m unittest discover -s tools"""

import copy
import tempfile
import unittest
import warnings
from pathlib import Path

import torch
from torch.ao import quantization as tq

from quantlens_tools import modelfile, networks, sources, torchmodel, torchscript
from quantlens_tools.collect import Tensors, converted_tensors
from quantlens_tools.errors import ToolError
from quantlens_tools.exact import check_layers
from quantlens_tools.generated import Recipe, make_pair
from quantlens_tools.images import structured

NARROW = {
    "mobilenet_v2": {"width_mult": 0.1, "num_classes": 5},
    "mobilenet_v3_large": {"width_mult": 0.1, "num_classes": 5},
    "resnet18": {"base_width": 4, "num_classes": 5},
    "shufflenet_v2_x0_5": {"stages_out_channels": [24, 24, 48, 96, 64], "num_classes": 5},
}


def setUpModule() -> None:
    warnings.filterwarnings("ignore")


def quick_pair(name: str):
    return make_pair(Recipe(name, NARROW[name], seed=7, calibration_size=64, batches=1))


class Export(unittest.TestCase):
    def check_equal(self, expected: Tensors, found: Tensors) -> None:
        self.assertEqual(sorted(expected), sorted(found))
        for name, tensor in expected.items():
            self.assertEqual(tensor.dtype, found[name].dtype, name)
            self.assertTrue(torch.equal(tensor, found[name]), name)

    def test_forms_of_an_int8_model_agree(self) -> None:
        for name, arguments in NARROW.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                model = quick_pair(name).int8
                expected = converted_tensors(model)
                for kind, scripted in (
                    ("script", torch.jit.script(model)),
                    ("trace", torch.jit.trace(model, torch.rand(1, 3, 64, 64))),
                ):
                    path = Path(folder) / f"{kind}.pt"
                    scripted.save(str(path))
                    found = sources.from_file(path, name, arguments, half=False)
                    self.assertEqual(found.precision, "int8")
                    self.check_equal(expected, found.tensors)
                if not name.startswith("mobilenet_v3"):
                    loaded = sources.from_state_dict(model.state_dict(), name, arguments)
                    self.check_equal(expected, loaded.source().tensors)

    def test_a_model_file_computes_what_its_network_did(self) -> None:
        x = structured(1, 64, 3)
        for name in NARROW:
            pair = quick_pair(name)
            for precision, model in (("f32", pair.f32), ("int8", pair.int8)):
                with self.subTest(f"{name} {precision}"), tempfile.TemporaryDirectory() as folder, torch.no_grad():
                    path = Path(folder) / "model.safetensors"
                    modelfile.write_model(path, pair.tensors(precision), pair.description(precision))
                    self.assertTrue(torch.equal(torchmodel.from_model_file(path)(x), model(x)))

    def test_an_unconverted_qat_state_dict_is_converted(self) -> None:
        name, arguments = "mobilenet_v3_large", NARROW["mobilenet_v3_large"]
        torch.manual_seed(3)
        model = networks.prepare_qat(networks.build_float(name, arguments), "qnnpack")
        for seed in range(2):
            model(structured(4, 64, seed))
        found = sources.from_state_dict(copy.deepcopy(model.state_dict()), name, arguments)
        expected = converted_tensors(tq.convert(model.eval()))
        self.assertIn("features.0.2.scale", expected)  # a Hardswish, absent from a converted state dict
        self.check_equal(expected, found.source().tensors)

    def test_a_converted_mobilenet_v3_state_dict_is_refused(self) -> None:
        state = quick_pair("mobilenet_v3_large").int8.state_dict()
        with self.assertRaisesRegex(ToolError, "Hardswish"):
            sources.from_state_dict(state, "mobilenet_v3_large", NARROW["mobilenet_v3_large"])

    def test_a_network_is_recognized_or_its_candidates_are_named(self) -> None:
        with torch.device("meta"):
            state = networks.build_float("resnet34", {"num_classes": 3}).state_dict()
            narrow = networks.build_float("mobilenet_v2", {"width_mult": 0.5}).state_dict()
        self.assertEqual(sources.recognize(sources.conv_shapes(state)), "resnet34")
        with self.assertRaisesRegex(ToolError, "named like mobilenet_v2 but have another width"):
            sources.recognize(sources.conv_shapes(narrow))

    def test_execution_order_lists_each_quantized_module_once(self) -> None:
        model = networks.build_converted("shufflenet_v2_x0_5", NARROW["shufflenet_v2_x0_5"])
        places = [place for place, _, _ in torchscript._execution_order(model)]
        self.assertEqual(len(places), len(set(places)))
        self.assertEqual(places[0], "quant")
        self.assertEqual(places[-1], "fc")


class Checks(unittest.TestCase):
    def test_the_exact_check_notices_a_wrong_layer(self) -> None:
        pair = quick_pair("mobilenet_v2")
        x = structured(1, 65, 5)
        self.assertEqual(sum(check.wrong for check in check_layers(pair.int8, x)), 0)
        layer = pair.int8.features[18][0]
        layer.register_forward_hook(lambda _m, _i, out: torch.quantized_max_pool2d(out, 3, 1, 1))
        wrong = [check.name for check in check_layers(pair.int8, x) if check.wrong]
        # Hooks run in order of registration: the check's own comes after and sees the altered output.
        self.assertEqual(wrong, ["features.18.0"])

    def test_the_same_contents_give_the_same_bytes(self) -> None:
        tensors = {"b": torch.arange(3, dtype=torch.uint8), "a": torch.ones(2, 2)}
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("x", "y")]
            for path, keys in zip(paths, (["k", "l"], ["l", "k"])):
                modelfile.write_tensors(path, tensors, {key: key for key in keys})
            self.assertEqual(paths[0].read_bytes(), paths[1].read_bytes())
            self.assertEqual(modelfile.read_metadata(paths[0]), {"k": "k", "l": "l"})


if __name__ == "__main__":
    unittest.main()
