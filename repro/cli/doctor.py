"""What this machine has and what it lacks: versions, devices, back ends, data sets, browser."""

from __future__ import annotations

import dataclasses
import shutil
import time

from repro.runtime import triton_status

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report: `state` is "ok", "missing" (optional) or "broken" (something will not work)."""

    subject: str
    state: str
    found: str
    advice: str = ""


def check_backend(backend: str) -> tuple[float, float]:
    """Run a small adder convolution, forward and backward, on `backend`.

    Returns:
        (largest error relative to the reference in float64, seconds of a second call).
    """
    import torch

    from repro.ops import adder_conv2d

    generator = torch.Generator().manual_seed(0)
    on_gpu = backend == "triton" and torch.cuda.is_available()
    x = torch.randn(1, 3, 6, 6, generator=generator)
    weight = torch.randn(4, 3, 3, 3, generator=generator)

    def outputs(dtype, chosen, device):
        inputs = [t.detach().clone().to(device=device, dtype=dtype).requires_grad_() for t in (x, weight)]
        y = adder_conv2d(*inputs, padding=1, backend=chosen)
        y.sum().backward()
        return [tensor.detach().double().cpu() for tensor in (y, inputs[0].grad, inputs[1].grad)]

    device = "cuda" if on_gpu else "cpu"
    ours = outputs(torch.float32, backend, device)
    started = time.perf_counter()
    outputs(torch.float32, backend, device)
    seconds = time.perf_counter() - started
    exact = outputs(torch.float64, "reference", "cpu")
    error = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, exact))
    return error, seconds


def _backend_finding(backend: str) -> Finding:
    subject = f"back end {backend}"
    if backend == "triton":
        import torch

        usable, reason = triton_status()
        if not usable:
            slower = "networks run on the GPU by the slower back end 'reference'"
            return Finding(subject, "missing", reason, slower if torch.cuda.is_available() else "only needed on a GPU")
    try:
        error, seconds = check_backend(backend)
    except Exception as problem:
        return Finding(subject, "broken", f"{type(problem).__name__}: {problem}", "reinstall with 'make env'")
    if error > 1e-5:
        return Finding(subject, "broken", f"relative error {error:.1e} against float64", "please report this machine")
    return Finding(subject, "ok", f"adder convolution agrees with float64 to {error:.0e}, {1000 * seconds:.1f} ms")


def _threads_finding() -> Finding:
    import torch

    from repro.cpu.runner import openmp_entry

    threads = torch.get_num_threads()
    if threads > 1 and openmp_entry() is None:
        advice = "set OMP_NUM_THREADS=1, or please report this machine"
        return Finding("threads", "broken", "torch's OpenMP library was not found: kernels run on one thread", advice)
    return Finding("threads", "ok", f"torch and the CPU kernels share {threads}")


def _device_findings() -> list[Finding]:
    import torch

    from repro.runs.provenance import device_name, versions

    findings = [Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in versions().items()))]
    findings.append(Finding("device", "ok", device_name()))
    if not torch.cuda.is_available():
        findings.append(Finding("GPU", "missing", "torch sees none", "the CPU serves; 'paper' presets want a GPU"))
    return findings


def _data_findings() -> list[Finding]:
    from repro.datasets import list_datasets

    return [
        Finding(f"data set {row.name}", "ok", row.found)
        if row.present
        else Finding(f"data set {row.name}", "missing", row.found, row.advice)
        for row in list_datasets()
    ]


def _browser_finding() -> Finding:
    path = next((name for name in BROWSERS if shutil.which(name)), None)
    if path:
        return Finding("browser", "ok", f"{path}: browser tests and static plotly figures work")
    advice = "install Chromium for the explorer's tests; pages and SVG figures need none"
    return Finding("browser", "missing", "no Chromium or Chrome on the PATH", advice)


def examine() -> list[Finding]:
    """Everything `python -m repro doctor` prints, in order."""
    findings = _device_findings()
    findings += [_backend_finding(backend) for backend in ("reference", "cpu", "triton")]
    findings.append(_threads_finding())
    findings += _data_findings()
    findings.append(_browser_finding())
    return findings
