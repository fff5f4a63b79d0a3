"""What the installed package promises before anything of it is called."""

import inspect
import json
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mentorch
from mentorch._lazy import _listed

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = {Requirement(text).name.lower() for text in PROJECT["dependencies"]} - {"torch"}


LISTED = _listed(mentorch.__file__)


def fresh(code: str) -> dict[str, object]:
    """Run ``code`` in a new interpreter; it leaves its findings in ``found``."""
    lines = ["import json, sys", "found = {}", code, "print(json.dumps(found))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def top_level(distributions: set[str]) -> set[str]:
    modules = metadata.packages_distributions().items()
    return {module for module, owners in modules if distributions & {owner.lower() for owner in owners}}


def test_the_version_is_the_installed_one_and_has_a_changelog_entry() -> None:
    assert metadata.version("mentorch") == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_types_are_shipped() -> None:
    assert (Path(mentorch.__file__).parent / "py.typed").is_file()


def test_the_licence_is_the_full_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_dependency_is_pinned() -> None:
    text = "\n".join(
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("constraints.txt", "constraints-vision.txt", "constraints-peers.txt")
    )
    pins = [Requirement(line) for line in text.splitlines() if line and line[0] != "#"]
    pinned = {pin.name.lower(): pin.specifier for pin in pins}
    assert len(pinned) == len(pins), "two pins for one package"
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        (pin,) = pinned[requirement.name.lower()]
        assert pin.operator == "==", requirement.name
        assert requirement.specifier.contains(pin.version), requirement.name


def test_the_package_lists_its_names_and_lets_nothing_else_slip_out() -> None:
    assert {"Graph", "Edge", "fit", "losses"} <= set(LISTED)
    assert set(LISTED) <= set(dir(mentorch))
    public = {name for name, value in vars(mentorch).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert public - {"TYPE_CHECKING"} <= set(LISTED)


@pytest.mark.parametrize("name", sorted(LISTED))
def test_every_listed_name_exists_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(mentorch, name))


@pytest.mark.parametrize("folder", sorted(name for name, home in LISTED.items() if home == "mentorch"))
def test_files_in_public_folders_are_private(folder: str) -> None:
    package = import_module(f"mentorch.{folder}")
    files = {path.stem for place in getattr(package, "__path__", ()) for path in Path(place).glob("*.py")}
    assert not {name for name in files if name[0] != "_"}


def test_importing_needs_torch_alone() -> None:
    blocked = sorted(top_level(OPTIONAL))
    assert {"numpy", "sklearn", "scipy", "matplotlib", "yaml"} <= set(blocked)  # or nothing would be tested
    code = f"""
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import warnings
warnings.filterwarnings("ignore", "Failed to initialize NumPy")
import torch
import mentorch
found["edge"] = mentorch.Edge("labels", "student", torch.nn.functional.cross_entropy).name
"""
    assert fresh(code) == {"edge": "labels -> student: cross_entropy"}


def test_importing_is_lighter_than_importing_torch() -> None:
    code = """
import mentorch
found["torch"] = "torch" in sys.modules
found["own"] = sorted(name for name in sys.modules if name.startswith("mentorch"))
mentorch.Edge
found["then"] = "torch" in sys.modules
"""
    assert fresh(code) == {"torch": False, "own": ["mentorch", "mentorch._lazy"], "then": True}


def test_importing_loads_nothing_heavy_that_torch_did_not() -> None:
    code = """
import torch
before = set(sys.modules)
from mentorch import *
found["loaded"] = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
"""
    loaded = set(fresh(code)["loaded"])
    assert "mentorch" in loaded
    assert not loaded & top_level(OPTIONAL)


def test_importing_changes_no_state_of_the_process() -> None:
    code = """
import os, random, torch
def state():
    return [
        str(torch.random.get_rng_state().tolist()), str(random.getstate()), torch.get_num_threads(),
        str(torch.get_default_dtype()), str(torch.get_default_device()), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), dict(os.environ),
    ]
before = state()
from mentorch import *
found["same"] = state() == before
found["device"] = torch.cuda.is_initialized()
"""
    assert fresh(code) == {"same": True, "device": False}
