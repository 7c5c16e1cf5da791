"""8-bit adder inference on a GPU: int8 activations and filters in one common scale, exact int32 sums.

y = -sum |x - w| counts in units of the common scale. |x - w| <= 255, so int32 holds up to 2^31 / 255, over 8 million
terms; more are refused. Four channels share a 32-bit word: activations are copied once into channels-last words (one
byte an element), which is all the memory this takes beside the output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repro.errors import InputError
from repro.geometry import output_sizes
from repro.runtime import triton_interpreted
from repro.triton import launch as run
from repro.triton.launch import INTERPRETER_TILE, Tile, cdiv
from repro.triton.tuning import choose_tile

Pair = tuple[int, int]
MAX_TERMS = (2**31 - 1) // 255
TILES = (Tile(8, 8, 16, 8, 4, 4), Tile(8, 4, 16, 8, 4, 4), Tile(4, 4, 16, 8, 4, 4), Tile(4, 2, 32, 4, 4, 4))


def adder_conv2d_int8(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    """-sum |patch - w| in int32, exact; a zero-padded position contributes |0 - w|.

    Args: x (N, C_in, H, W) int8, any strides; weight (C_out, C_in / groups, K_h, K_w) int8; pairs of ints.
    Returns: (N, C_out, H_out, W_out) int32, contiguous; a channels-last view of it is what the program writes.
    Raises: BackendError if Triton or the device cannot run this; InputError on mismatched channels.
    """
    run.check_available(x, weight, dtypes=(torch.int8,))
    filters, channels = weight.shape[0] // groups, weight.shape[1]
    if weight.shape[0] % groups or x.shape[1] != channels * groups:
        raise InputError(f"groups={groups} does not fit x of {x.shape[1]} channels and weights {tuple(weight.shape)}.")
    if weight[0].numel() > MAX_TERMS:
        raise InputError(
            f"a filter of {weight[0].numel()} values could overflow int32; at most {MAX_TERMS} are allowed."
        )
    out_size = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    y = torch.empty((x.shape[0], *out_size, weight.shape[0]), dtype=torch.int32, device=x.device)
    if y.numel() == 0:
        return y.permute(0, 3, 1, 2).contiguous()
    from repro.triton.adder_int8_kernels import _adder_conv2d_int8_kernel as kernel

    positions = x.shape[0] * out_size[0] * out_size[1]
    x_words = _words(x.unflatten(1, (groups, channels)).permute(0, 3, 4, 1, 2))
    w_words = _words(weight.permute(0, 2, 3, 1))
    kh, kw = weight.shape[2:]
    window = dict(KH=kh, KW=kw, SH=stride[0], SW=stride[1], PH=padding[0], PW=padding[1])
    window |= dict(DH=dilation[0], DW=dilation[1], PLAIN=triton_interpreted() or torch.version.hip is not None)

    def launch(tile: Tile) -> None:
        programs = cdiv(positions, tile.TM * tile.LM) * cdiv(filters, tile.TN * tile.LN) * groups
        kernel[(run.check_grid(programs, "adder_conv2d_int8"),)](
            x_words, w_words, y, positions, x_words.shape[-1], filters, *x.shape[2:], *out_size, groups,
            **window, WIDE=run.is_wide(positions), **tile.meta(),
        )  # fmt: skip

    shape_class = (run.pow2(positions), filters, *w_words.shape[1:], *stride, groups > 1)
    tiles = (INTERPRETER_TILE,) if triton_interpreted() else TILES
    launch(choose_tile("adder_conv2d_int8", shape_class, tiles, positions, filters, launch))
    return y.permute(0, 3, 1, 2).contiguous()


def adder_linear_int8(x: Tensor, weight: Tensor) -> Tensor:
    """-sum_c |x[n, c] - w[o, c]| in int32, exact; x (N, C_in) int8, weight (C_out, C_in) int8, result (N, C_out)."""
    y = adder_conv2d_int8(x[:, :, None, None], weight[:, :, None, None], (1, 1), (0, 0), (1, 1), 1)
    return y[:, :, 0, 0]


def _words(t: Tensor) -> Tensor:
    """int8 (..., C) to int32 (..., ceil(C / 4)): four channels a word, zeros at the end."""
    padded = torch.nn.functional.pad(t, (0, -t.shape[-1] % 4))
    flat = padded.reshape(-1)
    if flat.data_ptr() % 4:  # a view that starts inside a word
        flat = flat.clone()
    return flat.view(torch.int32).reshape(*padded.shape[:-1], padded.shape[-1] // 4)
