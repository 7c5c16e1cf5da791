"""What the GPU compiler makes of our programs, read without a GPU: registers, spills and the instructions of a loop.

`compiled(...)` compiles a program ahead of time with the assembler that the Triton wheel brings, disassembles it and
counts. This says how many issue slots a term takes and whether registers spill; it does not say how long anything
takes, since latency, caches and clocks are not in it.

    python -m repro.triton.inspection        a table of every program at its first tile, for sm_90
"""

from __future__ import annotations

import collections
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from repro.errors import BackendError
from repro.runtime import triton_interpreted


@dataclass(frozen=True)
class Compiled:
    """One compiled program: resources per thread and per block, and the instructions of its hottest loop."""

    registers: int
    spill_bytes: int
    shared_bytes: int
    loop: collections.Counter  # opcode (first part) -> instructions in one pass of the hottest loop
    opcodes: frozenset[str]  # full opcodes anywhere in the program
    ptx: str

    def share(self, *opcodes: str) -> float:
        """Fraction of the hottest loop's instructions that are one of `opcodes`."""
        return sum(self.loop[o] for o in opcodes) / max(1, sum(self.loop.values()))


def compiled(
    kernel,
    types: dict[str, str],
    constants: dict[str, object],
    *,
    hottest: tuple[str, ...] = ("FADD", "FFMA", "FMUL"),
    aligned: tuple[str, ...] = (),
    ones: tuple[str, ...] = (),
    num_warps: int = 4,
    capability: int = 90,
) -> Compiled:
    """Compile `kernel` for sm_`capability` and read the machine code.

    Args:
        kernel: a `triton.jit` function, decorated while the interpreter was off.
        types: Triton type of arguments that are not 32-bit integers, such as {"x_ptr": "*fp32"}.
        constants: values of the constexpr arguments.
        hottest: opcodes whose count picks the hottest loop.
        aligned: integer arguments known to be multiples of 16 (pointers always are).
        ones: integer arguments known to be 1 (Triton specialises on that).
    Raises: BackendError if the kernel was decorated under the interpreter or the wheel brings no disassembler.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton_interpreted():
        raise BackendError("TRITON_INTERPRET=1 replaces the compiler; inspect compiled code in a process without it.")
    constants = {**constants, **dict.fromkeys(ones, 1)}
    names = list(kernel.arg_names)
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    known = [name for name in names if signature[name].startswith("*") or name in aligned]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in known}
    source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=attributes)
    target = GPUTarget("cuda", capability, 32)
    binary = triton.compile(source, target=target, options={"num_warps": num_warps})
    return _read(binary.asm["cubin"], binary.asm["ptx"], binary.metadata.shared, hottest)


def _tool(name: str) -> Path:
    import triton

    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    if not path.exists():
        raise BackendError(f"{name} is not in the installed Triton wheel, so machine code cannot be read here.")
    return path


def _read(cubin: bytes, ptx: str, shared: int, hottest: tuple[str, ...]) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "program.cubin")
        Path(path).write_bytes(cubin)
        usage = subprocess.run([_tool("cuobjdump"), "-res-usage", path], capture_output=True, text=True, check=True)
        listing = subprocess.run([_tool("nvdisasm"), "-c", path], capture_output=True, text=True, check=True)
    registers, stack, local = (int(re.search(rf"{key}:(\d+)", usage.stdout)[1]) for key in ("REG", "STACK", "LOCAL"))
    instructions, loops = _loops(listing.stdout)
    bodies = [collections.Counter(opcode.split(".")[0] for opcode in instructions[a : b + 1]) for a, b in loops]
    # Of nested loops with the same hot instructions, the shortest is the inner one.
    hot = max(bodies, key=lambda body: (sum(body[o] for o in hottest), -sum(body.values())), default={})
    return Compiled(registers, stack + local, shared, collections.Counter(hot), frozenset(instructions), ptx)


def _loops(listing: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Opcodes in order, and (first, last) index of every backward branch's span."""
    instructions, labels, loops = [], {}, []
    for line in listing.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif text := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.a-z]*)(.*);", line):
            target = re.search(r"\.L_x_\d+", text[2]) if text[1].startswith("BRA") else None
            if target and target[0] in labels:
                loops.append((labels[target[0]], len(instructions)))
            instructions.append(text[1])
    return instructions, loops


def adder_programs() -> dict[str, tuple]:
    """(kernel, types, constants, first tile) of each dense adder program for a 3x3, stride-1 float32 convolution."""
    from repro.triton import adder
    from repro.triton import adder_dense_kernels as dense

    window = dict(KH=3, KW=3, SH=1, SW=1, PH=1, PW=1, DH=1, DW=1)
    taps = dict(NH=3, NW=3, QH=1, QW=1, SH=1, SW=1)
    fwd = dict(x_ptr="*fp32", w_ptr="*fp32", y_ptr="*fp32")
    bwd = dict(g_ptr="*fp32", x_ptr="*fp32", w_ptr="*fp32", dx_ptr="*fp32")
    wgrad = dict(g_ptr="*fp32", x_ptr="*fp32", centre_ptr="*fp32", partial_ptr="*fp32")
    fixed = dict(WIDE=False)
    return {
        "adder_conv2d_fwd": (
            dense._adder_conv2d_fwd_kernel,
            fwd,
            {**window, **fixed},
            adder.FWD_TILES,
        ),
        "adder_conv2d_bwd_input": (
            dense._adder_conv2d_bwd_input_kernel,
            bwd,
            {**taps, **fixed},
            adder.BWD_INPUT_TILES,
        ),
        "adder_conv2d_bwd_weight": (
            dense._adder_conv2d_bwd_weight_kernel,
            wgrad,
            {**window, "DOT": False, "DOT_UPCAST": False},
            adder.BWD_WEIGHT_TILES,
        ),
    }


ALIGNED = ("channels", "filters", "k_count", "x_stride_n", "x_stride_c", "g_stride_n", "g_stride_c", "y_stride_n")
CONTIGUOUS = ("x_stride_w", "g_stride_w", "y_stride_w", "dx_stride_w")


def inspect_adder(name: str, tile, capability: int = 90) -> Compiled:
    """One program of `adder_programs` compiled with one tile, NCHW strides."""
    kernel, types, constants, _ = adder_programs()[name]
    meta = tile.meta()
    warps = meta.pop("num_warps")
    names = kernel.arg_names
    return compiled(
        kernel,
        types,
        {**constants, **meta},
        aligned=tuple(a for a in ALIGNED if a in names),
        ones=tuple(a for a in CONTIGUOUS if a in names),
        num_warps=warps,
        capability=capability,
    )


def main() -> None:
    """Print one line per program and tile."""
    print(
        "program, tile (TM TN LM LN BK warps): registers, spilled bytes, terms per pass, instructions per term, pipes"
    )
    for name, (*_, tiles) in adder_programs().items():
        for tile in tiles:
            found = inspect_adder(name, tile)
            terms = tile.TM * tile.TN * tile.BK
            slots = sum(found.loop.values())
            pipes = {o: found.loop[o] for o in ("FADD", "FFMA", "FMUL", "FMNMX", "LDS", "LDG", "STL", "LDL", "SHFL")}
            pipes = {o: n for o, n in pipes.items() if n}
            print(
                f"{name} {tuple(tile.meta().values())}: {found.registers} regs, {found.spill_bytes} B spilled, "
                f"{terms} terms, {slots / terms:.2f} per term, {pipes}"
            )


if __name__ == "__main__":
    main()
