"""One instruction set on every x86-64 machine, so that a seed gives the same numbers on all of them.

A convolution or a matrix product adds its terms in another order with every instruction set, and training makes of a
last digit another network. ATen, oneDNN and MKL choose the widest set that the processor has; capped to AVX2, which
nearly every x86-64 processor of the last ten years has, they choose the same one. `import labkit` sets the caps. They
act as long as torch has computed nothing yet, also if it has been imported already.
"""

from __future__ import annotations

import os
import platform

CAPS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
"""Environment variables of ATen, oneDNN and MKL. One that the user has set stays as it is."""

ELSEWHERE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
"""Caps under which an x86-64 machine computes as differently as another kind of machine would."""


def caps_act() -> bool:
    """Whether caps have an effect on this machine: on x86-64. Elsewhere there is nothing to cap."""
    return _machine() == "x86_64"


def set_caps() -> None:
    """Cap ATen, oneDNN and MKL to AVX2, where caps act."""
    if caps_act():
        for name, value in CAPS.items():
            os.environ.setdefault(name, value)


def instruction_set() -> str:
    """What this process computes with: "x86_64 AVX2 (NumPy AVX512_ICL, OpenBLAS SkylakeX)".

    The libraries under torch are named one by one where they differ. NumPy and the OpenBLAS of NumPy and SciPy are not
    capped; they move the last digits of what scikit-learn fits. Asking settles the matter for ATen: no cap can be set
    afterwards.
    """
    import numpy as np
    import threadpoolctl
    import torch

    aten = torch.backends.cpu.get_cpu_capability()
    onednn, mkl = (os.environ.get(name, "uncapped").upper() for name in ("ONEDNN_MAX_CPU_ISA", "MKL_CBWR"))
    differ = _machine() == "x86_64" and len({aten, onednn, mkl}) > 1
    torchs = f"ATen {aten}, oneDNN {onednn}, MKL {mkl}" if differ else aten
    numpys = np.show_config(mode="dicts")["SIMD Extensions"].get("found", ["baseline"])[-1]
    blas = [pool.get("architecture") for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    others = f"NumPy {numpys}, OpenBLAS {blas[0]}" if blas and blas[0] else f"NumPy {numpys}"
    return f"{_machine()} {torchs} ({others})"


def too_late() -> str | None:
    """A sentence if torch had computed something before the caps were set, so that they have no effect; else None."""
    import torch

    in_force = torch.backends.cpu.get_cpu_capability()
    if os.environ.get("ATEN_CPU_CAPABILITY", "").lower() != "avx2" or in_force in ("AVX2", "DEFAULT"):
        return None
    return (
        f"torch had computed something before labkit was imported, so it goes on with {in_force} instead of AVX2 and "
        "numbers may differ from the stored ones: restart the kernel and run the lesson from its first cell."
    )


def _machine() -> str:
    """The processor's architecture; Windows calls x86-64 otherwise."""
    machine = platform.machine().lower()
    return "x86_64" if machine == "amd64" else machine
