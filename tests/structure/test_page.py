import re
from pathlib import Path


def test_the_python_of_the_page_runs(capsys):
    page = (Path(__file__).parents[2] / "docs" / "structure.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "structure.md", "exec"), names)
    assert names["both"](names["images"]).shape == (1, 15)
    assert "stays: an input of the network" in capsys.readouterr().out
