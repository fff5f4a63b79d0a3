import pytest

from .conftest import BRANCH


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "seg"), "unknown 'seg' (known: segmentation, depth, normals)"),
        (("--methods", "kd_branched"), "kd_branched needs branch, which finds its network"),
        (("--start", "colour"), "'colour' is neither random nor one of the tasks"),
        (("--size", "4"), "one side, or height and width, 8 or more"),
        (("--weight", "deep=2"), "weight: 'deep' is none of the tasks"),
        (("--knn", "3"), "knn has no effect with what a dense task has no use for"),
        (("--methods", "kd", "--train-trunk", "last"), "train_trunk has no effect"),
        (("--val-fraction", "0.2"), "val_fraction has no effect with scenes, which have splits of their own"),
        (("--network", "resnet8"), "resnet8 does not answer at every pixel"),
        (("--data", "camvid:nowhere"), "folder nowhere does not exist"),
        (("--batch-size", "64"), "batch size 64 is larger than the data"),
    ],
)
def test_wrong_usage_is_one_line(mentorch, words, message) -> None:
    result = mentorch("branch", *BRANCH, *words)
    assert result.code == 2, result.out
    assert message in result.error
