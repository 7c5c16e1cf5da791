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
    bodies = {(a, b): collections.Counter(opcode.split(".")[0] for opcode in instructions[a : b + 1]) for a, b in loops}
    hot = {span: body for span, body in bodies.items() if any(body[o] for o in hottest)}
    inner = [body for (a, b), body in hot.items() if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in hot)]
    hottest_loop = max(inner, key=lambda body: sum(body[o] for o in hottest), default=collections.Counter())
    return Compiled(registers, stack + local, shared, hottest_loop, frozenset(instructions), ptx)


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


@dataclass(frozen=True)
class Program:
    """How one of our programs is compiled for inspection: a 3x3, stride-1 layer with NCHW strides unless said."""

    kernel: object
    types: dict[str, str]
    constants: dict[str, object]
    terms: int  # |x - w| terms or products that one pass of the hottest loop makes for each thread
    hottest: tuple[str, ...] = ("FADD", "FFMA", "FMUL")
    num_warps: int = 4


ALIGNED = ("channels", "filters", "k_count", "words", "padded", "x_stride_n", "x_stride_c", "g_stride_n", "g_stride_c")
CONTIGUOUS = ("x_stride_w", "g_stride_w", "y_stride_w", "dx_stride_w")
WINDOW = dict(KH=3, KW=3, SH=1, SW=1, PH=1, PW=1, DH=1, DW=1)


def _tiled(kernel, types: dict[str, str], constants: dict[str, object], tile, **options) -> Program:
    meta = tile.meta()
    warps = meta.pop("num_warps")
    return Program(kernel, types, {**constants, **meta}, tile.TM * tile.TN * tile.BK, num_warps=warps, **options)


def adder_program(name: str, tile, dtype: str = "fp32") -> Program:
    """`fwd`, `bwd_input` or `bwd_weight` of the dense adder convolution with one tile; dtype as Triton spells it."""
    from repro.triton import adder_dense_kernels as dense

    tensors = dict.fromkeys(("x_ptr", "w_ptr", "y_ptr", "g_ptr", "dx_ptr"), f"*{dtype}")
    if name == "fwd":
        return _tiled(dense._adder_conv2d_fwd_kernel, tensors, {**WINDOW, "WIDE": False}, tile)
    if name == "bwd_input":
        taps = dict(NH=3, NW=3, QH=1, QW=1, SH=1, SW=1, WIDE=False)
        return _tiled(dense._adder_conv2d_bwd_input_kernel, tensors, taps, tile)
    types = {**tensors, "centre_ptr": "*fp32", "partial_ptr": "*fp32"}
    constants = {**WINDOW, "DOT": dtype != "fp32", "DOT_UPCAST": False}
    hottest = ("HMMA", "HGMMA") if dtype != "fp32" else ("FFMA", "FADD", "FMUL")
    return _tiled(dense._adder_conv2d_bwd_weight_kernel, types, constants, tile, hottest=hottest)


def programs() -> dict[str, Program]:
    """Every program of this folder with the first tile its launcher would try, by name."""
    from repro.triton import adder, adder_depthwise_kernels, adder_int8, adder_int8_kernels, shift, shift_kernels

    found = {f"adder_{name}_float32": adder_program(name, tiles[0]) for name, tiles in _adder_tiles().items()}
    found["adder_fwd_bfloat16"] = adder_program("fwd", adder.FWD_TILES[0], "bf16")
    found["adder_bwd_weight_float16"] = adder_program("bwd_weight", adder.BWD_WEIGHT_DOT_TILES[0], "fp16")
    floats = dict.fromkeys(("x_ptr", "w_ptr", "y_ptr", "g_ptr", "dx_ptr", "partial_ptr"), "*fp32")
    planes = {**WINDOW, "BP": 512, "BC": 1}
    found["depthwise_fwd"] = Program(adder_depthwise_kernels._adder_depthwise_fwd_kernel, floats, planes, 36)
    found["depthwise_bwd_input"] = Program(
        adder_depthwise_kernels._adder_depthwise_bwd_input_kernel, floats, planes, 36
    )
    found["depthwise_bwd_weight"] = Program(
        adder_depthwise_kernels._adder_depthwise_bwd_weight_kernel, floats, {**planes, "BP": 256, "TAPS": 16}, 18
    )
    words = dict.fromkeys(("x_ptr", "w_ptr", "y_ptr"), "*i32")
    found["adder_int8"] = _tiled(
        adder_int8_kernels._adder_conv2d_int8_kernel, words, {**WINDOW, "PLAIN": False, "WIDE": False},
        adder_int8.TILES[0], hottest=("VABSDIFF4",),
    )  # fmt: skip
    code = {"BITS": 5, "P_MIN": -14, "HAS_BIAS": False}
    half = dict(x_ptr="*fp16", codes_ptr="*i32", bias_ptr="*fp16", y_ptr="*fp16", partial_ptr="*fp32")
    found["shift_float16"] = Program(
        shift_kernels._shift_conv2d_dot_kernel, half,
        {**WINDOW, **code, "UPCAST": False, "WIDE": False, "BM": 64, "BN": 64, "BK": 32}, 1024, ("HMMA", "HGMMA"),
    )  # fmt: skip
    fixed = dict(x_ptr="*i32", codes_ptr="*i32", bias_ptr="*i32", y_ptr="*i64")
    found["shift_fixed"] = _tiled(
        shift_kernels._shift_conv2d_tile_kernel, fixed, {**WINDOW, **code, "FIXED": True, "WIDE": False},
        shift.TILES[1], hottest=("IADD3", "SHF"),
    )  # fmt: skip
    four = {"BITS": 4, "P_MIN": -6, "UPCAST": False}
    found["shift_linear_batch1_4bit"] = Program(
        shift_kernels._shift_linear_small_kernel, half, {**four, "BB": 1, "BN": 16, "BK": 128, "DOT": False}, 16
    )
    found["shift_linear_batch16_4bit"] = Program(
        shift_kernels._shift_linear_small_kernel, half, {**four, "BB": 16, "BN": 32, "BK": 64, "DOT": True}, 256,
        ("HMMA", "HGMMA"),
    )  # fmt: skip
    return found


def _adder_tiles() -> dict[str, tuple]:
    from repro.triton import adder

    return {"fwd": adder.FWD_TILES, "bwd_input": adder.BWD_INPUT_TILES, "bwd_weight": adder.BWD_WEIGHT_TILES}


def inspect(program: Program, capability: int = 90) -> Compiled:
    """Compile one program; sizes are taken as multiples of 16 and rows as contiguous, as in most layers."""
    names = program.kernel.arg_names
    return compiled(
        program.kernel,
        program.types,
        program.constants,
        hottest=program.hottest,
        aligned=tuple(a for a in ALIGNED if a in names),
        ones=tuple(a for a in CONTIGUOUS if a in names),
        num_warps=program.num_warps,
        capability=capability,
    )


def describe(name: str, program: Program, found: Compiled) -> str:
    """One line: resources, instructions a term, and the commonest opcodes of the hottest loop."""
    slots = sum(found.loop.values())
    common = ", ".join(f"{opcode} {count}" for opcode, count in found.loop.most_common(5))
    per_term = f"{slots / program.terms:.2f} instructions a term, " if slots else "no loop, "
    return f"{name}: {found.registers} registers, {found.spill_bytes} B spilled, {per_term}{common}"


def main(capability: int = 90) -> None:
    """Print a line for every program, then one for every tile of the dense adder programs."""
    for name, program in programs().items():
        print(describe(name, program, inspect(program, capability)))
    for name, tiles in _adder_tiles().items():
        for tile in tiles:
            program = adder_program(name, tile)
            print(describe(f"{name} {tuple(tile.meta().values())}", program, inspect(program, capability)))


if __name__ == "__main__":
    main()
