"""How much memory a call really takes: the peak of resident memory in a fresh process, reset just before the call.

The process runs with malloc set to hand every larger block back to the system at once, so that memory kept from the
warm-up cannot hide what the call asks for. Everything counts: torch's tensors, the kernels' scratch space, Numba's own.
Linux only: elsewhere these rows are left out. On a GPU torch's own peak counter serves.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

from repro.errors import BackendError

TILE_MIB_PER_THREAD = 1.0
"""The "fixed tile" of the memory bar: scratch space that does not grow with the layer."""
INPUT_SHARE = 0.10
MIB = 2**20


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise BackendError(f"/proc/self/status has no {key}; memory is measured on Linux only.")


def _release() -> None:
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass


def peak_bytes(work) -> int:
    """Highest resident memory during `work()` above that before it, in this process."""
    _release()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
    kept = work()
    peak = _status("VmHWM")
    del kept
    return max(0, peak - before)


def _measure_forward(shapes: list[dict], threads: int) -> list[float]:
    """MiB that an adder forward takes beyond input, weights and output, for each shape."""
    import torch

    from repro.bench.gate import make_inputs
    from repro.bench.registry import _adder
    from repro.bench.shapes import ConvShape

    torch.set_num_threads(threads)
    found = []
    for fields in shapes:
        shape = ConvShape(**{key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()})
        inputs = make_inputs(shape)
        x, weight = inputs.x.detach(), inputs.weight.detach()
        op = _adder("cpu")

        def work(op=op, x=x, weight=weight, options=shape.options):
            with torch.no_grad():
                return op(x, weight, **options)

        work()
        found.append((peak_bytes(work) - 4 * shape.y_elements) / MIB)
        del inputs, x, weight
    return found


def _measure_step(network: dict, op: str, threads: int) -> float:
    """MiB of one training step, augmented ones of the widest network: weights, gradients, momentum, activations, …"""
    import torch

    from repro.bench.shapes import Network
    from repro.bench.training import make_step

    torch.set_num_threads(threads)
    # Whatever libraries load and compile on first use does not belong to the step: run one at the smallest batch.
    options = tuple(map(tuple, network.pop("options")))
    small = make_step(Network(**{**network, "batch": 2}, options=options), op, widest=True)
    small()
    small()
    del small
    full = Network(**network, options=options)

    def work():
        step = make_step(full, op, widest=True)
        step()
        step()
        return step

    return peak_bytes(work) / MIB


def _in_fresh_process(request: dict):
    if not Path("/proc/self/clear_refs").exists():
        raise BackendError("peak memory is read from /proc, which this system does not have")
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "0",
        "MALLOC_TOP_PAD_": "0",
        "MALLOC_ARENA_MAX": "1",
    }
    command = [sys.executable, "-m", "repro.bench.memory"]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(f"the process that measures memory ended with code {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def forward_extra_mib(shapes, threads: int) -> list[float]:
    """Extra memory of an adder forward beyond its output, in MiB, for `ConvShape`s; runs in one fresh process."""
    from dataclasses import asdict

    return _in_fresh_process({"shapes": [asdict(shape) for shape in shapes], "threads": threads})


def step_mib(network, op: str, threads: int, device: str = "cpu") -> float:
    """Peak memory of a training step in MiB: a fresh process on the CPU, torch's counter on a GPU."""
    if device == "cuda":
        return _cuda_step_mib(network, op)
    from dataclasses import asdict

    return _in_fresh_process({"network": asdict(network), "op": op, "threads": threads})


def _cuda_step_mib(network, op: str) -> float:
    import torch

    from repro.bench.training import make_step

    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step = make_step(network, op, "cuda", widest=True)
    step()
    step()
    return (torch.cuda.max_memory_allocated() - before) / MIB


def allowance_mib(shape, threads: int) -> float:
    """What the memory bar allows: a tenth of the input and one fixed tile a thread."""
    return INPUT_SHARE * 4 * shape.x_elements / MIB + TILE_MIB_PER_THREAD * threads


def main() -> None:
    """Answer one request read from standard input, as the child process."""
    request = json.loads(sys.stdin.read())
    if "shapes" in request:
        answer = _measure_forward(request["shapes"], request["threads"])
    else:
        answer = _measure_step(request["network"], request["op"], request["threads"])
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
