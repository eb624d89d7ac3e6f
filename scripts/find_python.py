"""Exit 0 if this interpreter fits `requires-python` and can make a virtual environment; else say why, exit 1 or 3.

Run by scripts/setup.sh with each candidate, so it must start, and say no, on any Python 3.
"""

import re
import sys
from pathlib import Path


def main() -> int:
    """Judge this interpreter."""
    text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', text, re.MULTILINE)
    if wanted is None:
        sys.stderr.write("pyproject.toml: requires-python is not of the form >=3.x,<3.y\n")
        return 2
    low, high = int(wanted.group(1)), int(wanted.group(2))
    if not (3, low) <= sys.version_info[:2] < (3, high):
        sys.stdout.write("is {}.{}; fhir-bridge needs 3.{} to 3.{}\n".format(*sys.version_info[:2], low, high - 1))
        return 1
    try:
        import ensurepip  # noqa: F401  Debian splits it off into python3-venv
        import venv  # noqa: F401
    except ImportError:
        sys.stdout.write("python{}.{}-venv\n".format(*sys.version_info[:2]))
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
