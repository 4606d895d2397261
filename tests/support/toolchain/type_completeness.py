"""Fails if the summary of `pyright --verifytypes` has a score below a bound; see `make types`."""

from __future__ import annotations

import re
import sys

if __name__ == "__main__":
    summary = sys.stdin.read()
    sys.stdout.write(summary)
    score = re.search(r"completeness score: ([\d.]+)%", summary)
    if score is None or float(score[1]) < float(sys.argv[1]):
        sys.exit(f"The public types are to be known to {sys.argv[1]} %.")
