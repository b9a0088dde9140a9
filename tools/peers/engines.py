"""The peers, as the worker process sees them: each function loads a model and returns how to run it once.

A run goes from the image to the logits as quantlens' does: the input is handed over, the output read. What an engine's
interface lets one prepare beforehand (bound buffers, the input's layout) is prepared. Threads are told to each engine in
its own way; none may change the precision of a float model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

INPUT = (1, 3, 224, 224)


@dataclass
class Loaded:
    """A model that is ready: `run` is timed, `logits` reads what the last run left."""

    run: Callable[[], Any]
    logits: Callable[[Any], np.ndarray]
    note: str = ""


def openvino(path: Path, threads: int, image: np.ndarray) -> Loaded:
    import openvino as ov

    core = ov.Core()
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",  # its default is bf16 where the processor has that
    }
    compiled = core.compile_model(core.read_model(path), "CPU", config)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(image.copy()))
    note = f"precision {compiled.get_property('INFERENCE_PRECISION_HINT').to_string()}"
    return Loaded(request.infer, lambda _: np.array(request.get_output_tensor(0).data), note)


def onnxruntime(path: Path, threads: int, image: np.ndarray) -> Loaded:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, image)
    binding.bind_output(session.get_outputs()[0].name, "cpu")
    return Loaded(lambda: session.run_with_iobinding(binding), lambda _: binding.get_outputs()[0].numpy())


def litert(path: Path, threads: int, image: np.ndarray) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if given["shape"][-1] == 3:
        image = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    if given["dtype"] != np.float32:  # it starts from bytes: the quantization of the image is not in its time
        scale, zero = given["quantization"]
        limits = np.iinfo(given["dtype"])
        image = np.clip(np.round(image / scale) + zero, limits.min, limits.max).astype(given["dtype"])

    def run() -> np.ndarray:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    def logits(out: np.ndarray) -> np.ndarray:
        if out.dtype == np.float32:
            return out
        scale, zero = made["quantization"]
        return (out.astype(np.float32) - zero) * scale

    return Loaded(run, logits, f"input {np.dtype(given['dtype']).name}")


def ncnn(path: Path, threads: int, image: np.ndarray) -> Loaded:
    import ncnn as lib

    net = lib.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
        if hasattr(net.opt, f"use_{option}"):
            setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise RuntimeError("ncnn did not load the model")
    mat = lib.Mat(image[0].copy()).clone()

    def run() -> Any:
        extractor = net.create_extractor()
        extractor.input("in0", mat)
        return extractor.extract("out0")[1]

    return Loaded(run, np.array)


def mnn(path: Path, threads: int, image: np.ndarray) -> Loaded:
    import MNN

    interpreter = MNN.Interpreter(str(path))
    session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    given = interpreter.getSessionInput(session)
    interpreter.resizeTensor(given, INPUT)
    interpreter.resizeSession(session)
    layout = MNN.Tensor_DimensionType_Caffe
    source = MNN.Tensor(INPUT, MNN.Halide_Type_Float, image.copy(), layout)
    made = interpreter.getSessionOutput(session)
    host = MNN.Tensor((1, 1000), MNN.Halide_Type_Float, np.zeros((1, 1000), np.float32), layout)

    def run() -> None:
        given.copyFrom(source)
        interpreter.runSession(session)
        made.copyToHostTensor(host)

    return Loaded(run, lambda _: np.array(host.getData(), np.float32))


def _torch(path: Path, threads: int, image: np.ndarray, engine: str | None) -> Loaded:
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_grad_enabled(False)
    if engine:
        torch.backends.quantized.engine = engine
    model = torch.jit.freeze(torch.jit.load(str(path)).eval())
    if not engine:
        model = torch.jit.optimize_for_inference(model)
    tensor = torch.from_numpy(image.copy())
    return Loaded(lambda: model(tensor), lambda out: out.numpy())


def torch(path: Path, threads: int, image: np.ndarray) -> Loaded:
    return _torch(path, threads, image, None)


def torch_fbgemm(path: Path, threads: int, image: np.ndarray) -> Loaded:
    return _torch(path, threads, image, "fbgemm")


def torch_qnnpack(path: Path, threads: int, image: np.ndarray) -> Loaded:
    return _torch(path, threads, image, "qnnpack")


def gradcam(path: Path, threads: int, image: np.ndarray) -> Loaded:
    """The forward pass and pytorch-grad-cam's EigenCAM of the target layer: by its own class, or for an int8 network (whose
    quantized tensors that class cannot explain) by its own functions after a hook. int8 runs on the engine that it was made for."""
    import sys

    import torch
    from pytorch_grad_cam import EigenCAM
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from quantlens_tools.networks import network
    from quantlens_tools.torchmodel import from_model_file

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_grad_enabled(False)
    model = from_model_file(path)
    name, precision = path.stem.rsplit("-", 1)
    layer = model.get_submodule(network(name).cam_layer)
    tensor = torch.from_numpy(image.copy())
    if precision == "f32":
        cam = EigenCAM(model, [layer])

        def run() -> Any:
            cam(tensor, None)
            return cam.outputs

        return Loaded(run, lambda out: out.numpy())
    kept: list[Any] = []
    layer.register_forward_hook(lambda module, given, made: kept.append(made))

    def run_int8() -> Any:
        kept.clear()
        logits = model(tensor)
        projection = get_2d_projection(kept[0].dequantize().numpy())
        scale_cam_image(np.maximum(projection, 0), INPUT[:1:-1])
        return logits

    return Loaded(run_int8, lambda out: out.numpy(), torch.backends.quantized.engine)
