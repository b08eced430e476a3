"""What importing the package loads, each in an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DAEMON = ROOT / "daemon" / "parakeetd"

RAY = tuple(f"parakeetd.cluster.{name}" for name in ("counts", "remote", "replica", "router"))
"""Modules that are for who has the extra [cluster]."""

ADAPTERS = tuple(
    f"parakeetd.adapters.{name}"
    for name in ("form", "openai", "web", "wyoming", "wyoming_events", "wyoming_talk")
)
"""Modules that are for who has the extra [adapters]."""

OPTIONAL = ("ray", "aiohttp", "wyoming")
"""Libraries of extras that only some modules know."""

CONVERSION = ("torch", "nemo", "onnx", "onnxscript", "parakeetd_convert")


def loaded_by(code: str) -> set[str]:
    """Top-level names of all modules that are loaded after `code` ran."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import parakeetd; parakeetd.__version__")
    assert "parakeetd" in loaded
    assert loaded.isdisjoint({*CONVERSION, "grpc", "google", "onnxruntime", "numpy", "soundfile"})


def test_the_python_interface_loads_no_conversion_library() -> None:
    loaded = loaded_by("import parakeetd; parakeetd.load")
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint(CONVERSION)


def test_every_module_of_the_daemon_imports_without_the_libraries_of_extras() -> None:
    modules = [
        ".".join(path.relative_to(DAEMON.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(DAEMON.rglob("*.py"))
        if path.stem != "__main__"
    ]
    assert {"parakeetd.cli", *RAY, *ADAPTERS} <= set(modules)
    modules = [module for module in modules if module not in (*RAY, *ADAPTERS)]
    # None in sys.modules makes an import fail, as where the extra is not installed.
    block = f"import importlib, sys\nsys.modules.update(dict.fromkeys({(*CONVERSION, *OPTIONAL)!r}))\n"
    loaded = loaded_by(block + f"for name in {modules!r}: importlib.import_module(name)")
    assert {"parakeetd", "parakeetd_proto"} <= loaded


def test_the_conversion_command_is_found_without_its_libraries() -> None:
    block = "import sys\nsys.modules.update(dict.fromkeys(('torch', 'nemo', 'onnx', 'onnxscript')))\n"
    assert "parakeetd_convert" in loaded_by(block + "import parakeetd_convert.cli")


def test_the_daemons_command_loads_no_library_of_an_adapter() -> None:
    assert loaded_by("import parakeetd.cli.serve").isdisjoint({"aiohttp", "wyoming"})
