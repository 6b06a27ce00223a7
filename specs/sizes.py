"""Sizes of a network from its spec: the number of weights, before anything is allocated."""

import math
from itertools import pairwise

from specs.kinds import Spec
from specs.networks import CfcSpec, CnnSpec, LtcSpec, MlpSpec
from specs.signature import DataSignature


def estimated_parameters(network: Spec, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
    """Weights of the network to within a few per cent; None for a kind that has no formula here."""
    if isinstance(network, MlpSpec):
        return _mlp(network, math.prod(signature.input_shape) + extra_inputs, signature.outputs)
    if isinstance(network, CnnSpec):
        return _cnn(network, signature, extra_inputs)
    if isinstance(network, CfcSpec | LtcSpec):
        inputs = signature.input_shape[-1] + extra_inputs
        return _liquid(network, inputs, signature.outputs)
    return None


def _chain(widths: list[int], *, bias: bool = True) -> int:
    return sum(inputs * outputs + (outputs if bias else 0) for inputs, outputs in pairwise(widths))


def _mlp(network: MlpSpec, inputs: int, outputs: int) -> int:
    count = _chain([inputs, *network.hidden, outputs], bias=network.bias)
    if network.norm != "none":
        count += 2 * sum(network.hidden)
    if network.residual:  # a second layer per block after the first
        count += sum(width * width for width in network.hidden[1:])
    return count


def _cnn(network: CnnSpec, signature: DataSignature, extra_inputs: int) -> int:
    channels, height, width = signature.input_shape if len(signature.input_shape) == 3 else (1, 1, 1)
    area = network.kernel_size**2
    count, inputs = 0, channels + extra_inputs
    for outputs in network.channels:
        count += inputs * outputs * area + outputs + (0 if network.norm == "none" else 2 * outputs)
        inputs = outputs
        height, width = (math.ceil(side / network.stride) for side in (height, width))
        if network.pooling != "none":
            height, width = (max(1, side // network.pooling_size) for side in (height, width))
    return count + _chain([inputs * height * width, *network.hidden, signature.outputs])


def _liquid(network: CfcSpec | LtcSpec, inputs: int, outputs: int) -> int:
    count = 0
    for units in network.hidden:
        if isinstance(network, LtcSpec):
            count += 4 * inputs * units + 4 * units * units + 3 * units
        else:
            shared = [inputs + units] + [network.backbone_units] * network.backbone_layers
            count += _chain(shared) + 4 * (shared[-1] * units + units)
        inputs = units
    return count + inputs * outputs + outputs
