"""CMake flags of llama.cpp for the processor's vector instructions, as Linux names them.

python -m tests.support.toolchain.llama_cpp_flags
"""

from __future__ import annotations

import sys
from pathlib import Path

# What runs on every machine that names it. AMX and others are left out.
_FLAGS = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "bmi2": "BMI2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
}


def flags(cpuinfo: str) -> list[str]:
    """Returns a flag for each set of instructions, on or off; none where they are not named."""
    lines = [line for line in cpuinfo.splitlines() if line.startswith("flags")]
    if not lines:
        return []
    named = set(lines[0].split(":", 1)[1].split())
    # llama.cpp's AVX512 means these five together.
    whole = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"} <= named
    found = {name for name in _FLAGS if name in named}
    found -= set() if whole else {"avx512f", "avx512_vnni"}
    return [f"-DGGML_{flag}={'ON' if name in found else 'OFF'}" for name, flag in _FLAGS.items()]


if __name__ == "__main__":
    file = Path("/proc/cpuinfo")
    sys.stdout.write(" ".join(flags(file.read_text() if file.is_file() else "")))
