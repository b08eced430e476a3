"""Prints what `pip install .` without extras takes on disk, in a new environment. Downloads about 300 MB.

python tests/packaging/installed_size.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MAX_MEGABYTES = 600


def installed_megabytes() -> dict[str, float]:
    """Size on disk (10^6 bytes) of each top-level folder or file of a fresh installation, pip left out."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder)
        venv.create(environment, with_pip=True)
        pip = [str(environment / "bin" / "pip"), "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", str(ROOT)], check=True)
        (site,) = environment.glob("lib/python*/site-packages")
        parts = {part for part in site.iterdir() if not part.name.startswith(("pip", "setuptools"))}
        return {part.name: disk_bytes(part) / 1e6 for part in parts}


def disk_bytes(path: Path) -> int:
    """Bytes of the blocks that a file, or all files of a folder, take."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if not file.is_symlink()]
    return sum(file.lstat().st_blocks * 512 for file in files)


def main() -> int:
    sizes = installed_megabytes()
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:10]:
        print(f"{size:8.1f} MB  {name}")
    total = sum(sizes.values())
    print(f"{total:8.1f} MB  in all (limit {MAX_MEGABYTES} MB)")
    return 0 if total < MAX_MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
