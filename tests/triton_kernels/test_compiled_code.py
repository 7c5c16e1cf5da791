"""Every program compiles for GPUs that this machine need not have, and its machine code keeps what the design promises.

This is the only check of hardware code without a GPU: the interpreter runs numpy. It found, for example, that the
absolute-difference instruction takes no constant as its accumulator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

COMPILE = """
import json, sys
from repro.triton import inspection
found = {}
for name, program in inspection.programs().items():
    if name not in sys.argv[2:] and len(sys.argv) > 2:
        continue
    code = inspection.inspect(program, int(sys.argv[1]))
    found[name] = dict(
        registers=code.registers, spill_bytes=code.spill_bytes, loop=code.loop, terms=program.terms,
        opcodes=sorted(code.opcodes), ptx_target=code.ptx.split(".target ")[1].split()[0],
        nan_kept="min.NaN.xorsign.abs.f32" in code.ptx,
    )
print(json.dumps(found))
"""


def compile_for(capability: int, folder, *names: str) -> dict:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", COMPILE, str(capability), *names],
        capture_output=True, text=True, env=environment, timeout=280,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def hopper(tmp_path_factory):
    pytest.importorskip("triton")
    return compile_for(90, tmp_path_factory.mktemp("compiled"))


def per_term(program: dict, *opcodes: str) -> float:
    counts = program["loop"]
    return (sum(counts[o] for o in opcodes if o in counts) if opcodes else sum(counts.values())) / program["terms"]


def test_every_program_compiles_and_no_loop_spills(hopper):
    assert len(hopper) == 13 and {p["ptx_target"].rstrip(",") for p in hopper.values()} <= {"sm_90a", "sm_90"}
    assert max(p["spill_bytes"] for p in hopper.values()) <= 32, "a few values parked outside the loop, no more"
    assert not [name for name, p in hopper.items() if {"LDL", "STL"} & set(p["loop"])], "spills inside the loop"


def test_a_forward_term_is_two_additions_and_little_else(hopper):
    for name in ("adder_fwd_float32", "adder_fwd_bfloat16"):
        program = hopper[name]
        assert per_term(program, "FADD") == 2.0
        assert per_term(program) < 2 / 0.7, "under 70% of issue slots left for additions: the H100 bar is out of reach"
        assert "SHFL" not in program["loop"], "the sum over a step crosses lanes"


def test_an_input_gradient_term_clips_in_one_instruction_that_keeps_nan(hopper):
    program = hopper["adder_bwd_input_float32"]
    assert per_term(program, "FMNMX") == 1.0 and program["nan_kept"]
    assert per_term(program) < 2 / 0.45, "under 45% of the float32 bound by issue slots alone"


def test_a_weight_gradient_term_is_one_fused_multiply_add(hopper):
    assert 1.0 <= per_term(hopper["adder_bwd_weight_float32"], "FFMA", "FMUL") <= 1.1


def test_int8_takes_four_differences_an_instruction(hopper):
    program = hopper["adder_int8"]
    assert per_term(program, "VABSDIFF4") == 1.0
    assert per_term(program) < 2.0  # a term is four channels here


def test_half_precision_products_run_on_tensor_cores(hopper):
    for name in ("shift_float16", "adder_bwd_weight_float16", "shift_linear_batch16_4bit"):
        assert any(o.startswith(("HMMA", "HGMMA")) for o in hopper[name]["opcodes"]), name


def test_ampere_compiles_too(tmp_path):
    names = ("adder_bwd_input_float32", "shift_float16")
    found = compile_for(80, tmp_path, *names)
    assert set(found) == set(names) and not any("LDL" in p["loop"] for p in found.values())


EDGES = """
import dataclasses
from repro.triton import inspection
programs = inspection.programs()
sizes = ("groups", "channels", "filters", "words", "height", "out_height", "rows", "positions", "image_rows")
for name in ("adder_fwd_float32", "adder_bwd_input_float32", "adder_bwd_weight_float32", "adder_int8"):
    program = programs[name]
    ones = tuple(size for size in sizes if size in program.kernel.arg_names)
    inspection.compiled(program.kernel, program.types, program.constants, ones=ones, num_warps=program.num_warps)
for name in ("adder_fwd_float32", "adder_bwd_input_float32"):
    program = programs[name]
    wide = {"WIDE": True, **dict.fromkeys(("TM", "TN"), 2)}
    types = {**program.types, "positions": "i64", "x_stride_n": "i64"}
    code = inspection.inspect(dataclasses.replace(program, constants={**program.constants, **wide}, types=types))
    assert "mul.wide" in code.ptx or "mad.wide" in code.ptx or "mul.lo.s64" in code.ptx
"""


def test_sizes_of_one_and_beyond_32_bits_compile(tmp_path):
    """Triton turns an argument of 1 into a constant and one beyond 2^31 into 64 bits; both change types inside."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", EDGES], capture_output=True, text=True, env=environment, timeout=280)
    assert result.returncode == 0, result.stderr[-2000:]
