"""The fixtures of the structure tests, here too."""

import importlib.util
from pathlib import Path

_path = Path(__file__).parents[2] / "structure" / "conftest.py"
_spec = importlib.util.spec_from_file_location("structure_fixtures", _path)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
exact, lively, seeded = _module.exact, _module.lively, _module._seeded
