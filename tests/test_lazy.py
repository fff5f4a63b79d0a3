import sys
from pathlib import Path
from types import ModuleType

import pytest

from mentorch._lazy import lazily

LIST = """
from typing import TYPE_CHECKING

import nothing_that_exists

if TYPE_CHECKING:
    from house import rooms as rooms
    from house._door import open_door as open_door
else:
    from elsewhere import other as other
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package of three files, of which ``__init__.py`` lists the names."""
    (tmp_path / "house").mkdir()
    file = tmp_path / "house" / "__init__.py"
    file.write_text(LIST)
    (tmp_path / "house" / "rooms.py").write_text("size = 3\n")
    (tmp_path / "house" / "_door.py").write_text("def open_door() -> str:\n    return 'open'\n")
    module = ModuleType("house")
    module.__path__ = [str(file.parent)]
    module.__getattr__, module.__dir__ = lazily("house", str(file))
    for name in ("house", "house.rooms", "house._door"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "house", module)
    return module


def test_a_name_is_imported_when_it_is_used_and_once(house: ModuleType) -> None:
    assert "house._door" not in sys.modules
    assert house.open_door() == "open"
    assert "house.rooms" not in sys.modules
    assert house.rooms.size == 3
    assert vars(house)["open_door"] is sys.modules["house._door"].open_door


def test_the_list_is_what_the_package_shows(house: ModuleType) -> None:
    assert {"rooms", "open_door"} <= set(dir(house))
    assert house.__all__ == ["open_door", "rooms"]
    assert "other" not in dir(house)


@pytest.mark.parametrize("name", ["other", "nothing_that_exists", "__wrapped__"])
def test_another_name_is_an_attribute_error(house: ModuleType, name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'house' has no attribute '{name}'"):
        getattr(house, name)
