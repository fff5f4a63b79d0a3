from pathlib import Path

from safetensors.torch import load_file

from .conftest import STUDENTS


def test_what_they_say_of_test_images_is_kept_for_the_report(branched: Path) -> None:
    target = load_file(branched / "predictions" / "target.safetensors")
    assert target["images"].shape == (4, 3, 16, 24)
    assert {p.stem for p in (branched / "predictions").glob("*.safetensors")} == {"target", "teachers", *STUDENTS}
    for name in ("teachers", *STUDENTS):
        said = load_file(branched / "predictions" / f"{name}.safetensors")
        assert {task: x.shape for task, x in said.items()} == {
            "segmentation": (4, 16, 24), "depth": (4, 1, 16, 24), "normals": (4, 3, 16, 24)
        }  # fmt: skip
