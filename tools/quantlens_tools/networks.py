"""torchvision's networks, as quantizable float models and as converted int8 models to load a checkpoint into."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn
from torch.ao import quantization as tq
from torchvision.models import mobilenetv3
from torchvision.models.quantization import mobilenetv2 as q_mobilenetv2
from torchvision.models.quantization import mobilenetv3 as q_mobilenetv3
from torchvision.models.quantization import resnet as q_resnet
from torchvision.models.quantization import shufflenetv2 as q_shufflenetv2
from torchvision.models.quantization.utils import _replace_relu

from .errors import ToolError


@dataclass(frozen=True)
class Network:
    """What the tools need to know about a network by name."""

    name: str
    engine: str  # whose integer arithmetic the int8 form is made for
    cam_layer: str  # EigenCAM's target layer
    build: Callable[..., nn.Module]  # constructor arguments -> quantizable float model
    batch_norm_eps: float = 1e-5


class NarrowableResNet(q_resnet.QuantizableResNet):
    """torchvision's quantizable ResNet with `base_width` channels after the stem; torchvision has 64 fixed."""

    def __init__(self, layers: list[int], num_classes: int = 1000, base_width: int = 64) -> None:
        super().__init__(q_resnet.QuantizableBasicBlock, layers, num_classes=num_classes)
        if base_width != 64:
            self._rebuild(layers, num_classes, base_width)

    def _rebuild(self, layers: list[int], num_classes: int, width: int) -> None:
        block = q_resnet.QuantizableBasicBlock
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, layers[3], stride=2)
        self.fc = nn.Linear(8 * width, num_classes)


def _mobilenet_v2(**arguments: Any) -> nn.Module:
    return q_mobilenetv2.QuantizableMobileNetV2(block=q_mobilenetv2.QuantizableInvertedResidual, **arguments)


def _mobilenet_v3(arch: str) -> Callable[..., nn.Module]:
    def build(width_mult: float = 1.0, num_classes: int = 1000) -> nn.Module:
        setting, last_channel = mobilenetv3._mobilenet_v3_conf(arch, width_mult=width_mult)
        block = q_mobilenetv3.QuantizableInvertedResidual
        return q_mobilenetv3.QuantizableMobileNetV3(setting, last_channel, num_classes=num_classes, block=block)

    return build


def _resnet(layers: list[int]) -> Callable[..., nn.Module]:
    def build(num_classes: int = 1000, base_width: int = 64) -> nn.Module:
        return NarrowableResNet(layers, num_classes, base_width)

    return build


def _shufflenet_v2(channels: list[int]) -> Callable[..., nn.Module]:
    def build(num_classes: int = 1000, stages_out_channels: list[int] | None = None) -> nn.Module:
        return q_shufflenetv2.QuantizableShuffleNetV2([4, 8, 4], stages_out_channels or channels, num_classes)

    return build


_ALL = [
    Network("mobilenet_v2", "qnnpack", "features.18", _mobilenet_v2),
    Network("mobilenet_v3_large", "qnnpack", "features.16", _mobilenet_v3("mobilenet_v3_large"), 1e-3),
    Network("mobilenet_v3_small", "qnnpack", "features.12", _mobilenet_v3("mobilenet_v3_small"), 1e-3),
    Network("resnet18", "fbgemm", "layer4.1", _resnet([2, 2, 2, 2])),
    Network("resnet34", "fbgemm", "layer4.2", _resnet([3, 4, 6, 3])),
    Network("shufflenet_v2_x0_5", "fbgemm", "conv5", _shufflenet_v2([24, 48, 96, 192, 1024])),
    Network("shufflenet_v2_x1_0", "fbgemm", "conv5", _shufflenet_v2([24, 116, 232, 464, 1024])),
    Network("shufflenet_v2_x1_5", "fbgemm", "conv5", _shufflenet_v2([24, 176, 352, 704, 1024])),
    Network("shufflenet_v2_x2_0", "fbgemm", "conv5", _shufflenet_v2([24, 244, 488, 976, 2048])),
]
NETWORKS = {network.name: network for network in _ALL}


def network(name: str) -> Network:
    """The network of this name."""
    if name not in NETWORKS:
        raise ToolError(f"unknown network {name!r}; known are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def build_float(name: str, arguments: dict[str, Any]) -> nn.Module:
    """The float model (ReLU6 kept), randomly initialized, in evaluation mode; its keys are torchvision's."""
    build = network(name).build
    try:
        inspect.signature(build).bind(**arguments)
        return build(**arguments).eval()
    except (TypeError, ValueError) as error:
        raise ToolError(f"{name} cannot be built with arguments {arguments}: {error}") from error


def use_engine(engine: str) -> None:
    """Makes torch's quantized ops run on `engine`; fails where this build of torch lacks it."""
    supported = torch.backends.quantized.supported_engines
    if engine not in supported:
        raise ToolError(f"this torch has no {engine} engine (it has {', '.join(supported)})")
    torch.backends.quantized.engine = engine


def prepare_qat(model: nn.Module, engine: str) -> nn.Module:
    """Fuses a float model and gives it torch's default fake quantization for training."""
    use_engine(engine)
    _replace_relu(model)
    model.train()
    model.fuse_model(is_qat=True)
    model.qconfig = tq.get_default_qat_qconfig(engine)
    return tq.prepare_qat(model, inplace=True)


def prepare_static(model: nn.Module, engine: str) -> nn.Module:
    """Fuses a float model and gives it torch's default observers for post-training quantization."""
    use_engine(engine)
    _replace_relu(model)
    model.eval()
    model.fuse_model(is_qat=False)
    model.qconfig = tq.get_default_qconfig(engine)
    return tq.prepare(model, inplace=True)


def build_converted(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A converted int8 model with meaningless weights: the shape a converted state dict is loaded into."""
    model = prepare_static(build_float(name, arguments), network(name).engine)
    with torch.no_grad():
        model(torch.rand(1, 3, 64, 64))
    return tq.convert(model, inplace=True)
