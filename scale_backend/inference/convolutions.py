"""The U-Net on a CPU: each convolution one matrix product over gathered neighbourhoods.

The maps are so small (32 x 32 down to one pixel) that torch's convolutions spend most of their time on reordering
weights, 15 MB a frame. Here the weights are laid out once. Channels come last: a pixel is a row, as the shared MLP
wants it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.inference.folding import FoldedNetwork
from scale_backend.inference.layers import Layer
from scale_backend.inference.vector_layer import VectorLayer, float32_layer


class MatrixUNet:
    """The U-Net of a folded network with transposed convolutions (`upconv`)."""

    def __init__(self, network: FoldedNetwork):
        last = len(network.downs) - 1
        # relu(leaky_relu(x)) = relu(x): a skip may start behind the leaky relu
        self.downs = [
            float32_layer(_rows_of_kernel(weight), bias, "leaky_relu" if i < last else "relu")
            for i, (weight, bias) in enumerate(network.downs)
        ]
        self.ups = [float32_layer(_quarters_of_kernel(weight), _four(bias), "none") for weight, bias in network.ups]

    def __call__(self, positional_map: Tensor) -> Tensor:  # [F, H, W, 3] -> [F, H, W, C] float32
        """Features of each pixel. A frame's are the same to the bit alone and in a batch."""
        x, skips = positional_map, []
        for down in self.downs:
            x = _each(down, _neighbourhoods(x, 4, 2))
            skips.append(x)
        x = skips.pop()
        for i, up in enumerate(self.ups):
            if i:
                x = torch.cat([x, skips.pop()], -1).relu_()
            x = _interleave(_each(up, _neighbourhoods(x, 2, 1)))
        return x


def _each(layer: VectorLayer | Layer, x: Tensor) -> Tensor:
    """torch rounds a row otherwise in other company; our own code does not, and reads its weights once for all."""
    return layer(x) if isinstance(layer, VectorLayer) else torch.cat([layer(frame) for frame in x.split(1)])


def _neighbourhoods(x: Tensor, size: int, stride: int) -> Tensor:  # [F, H, W, C] -> [F, h, w, size size C]
    """The size x size pixels round each place of the map, one pixel of zeros about it."""
    padded = functional.pad(x, (0, 0, 1, 1, 1, 1))
    return padded.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3).flatten(3)


def _rows_of_kernel(weight: Tensor) -> Tensor:  # [out, in, 4, 4] -> [out, 16 in]
    return weight.permute(0, 2, 3, 1).flatten(1)


def _quarters_of_kernel(weight: Tensor) -> Tensor:  # [in, out, 4, 4] of a transposed convolution -> [4 out, 4 in]
    """Output pixel (2 i + a, 2 j + b) sees 2 x 2 input pixels: rows i - 1 and i through the kernel's rows 3 and 1
    where a = 0, rows i and i + 1 through 2 and 0 where a = 1; columns alike."""
    taps = torch.tensor([[3, 1], [2, 0]])
    quarters = weight[:, :, taps[:, None, :, None], taps[None, :, None, :]]  # [in, out, a, b, row, column]
    return quarters.permute(2, 3, 1, 4, 5, 0).flatten(3).flatten(0, 2)


def _four(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.repeat(4)


def _interleave(y: Tensor) -> Tensor:  # [F, H + 1, W + 1, 4 C] of all 2 x 2 windows -> [F, 2 H, 2 W, C]
    """Each output pixel from the window that it sees: out[2 i + a, 2 j + b] = y[i + a, j + b, (a, b)]."""
    y = y.unflatten(-1, (2, 2, -1))
    frames, rows, columns = y.shape[0], y.shape[1] - 1, y.shape[2] - 1
    f, r, c, a, b, channel = y.stride()
    taken = y.as_strided((frames, rows, 2, columns, 2, y.shape[-1]), (f, r, r + a, c, c + b, channel))
    return taken.reshape(frames, 2 * rows, 2 * columns, -1)
