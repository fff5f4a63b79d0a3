import pytest
import torch
from torch import nn

from mentorch import UsageError, transferability
from mentorch.data import LabelSpace
from mentorch.methods import choose_teachers, usefulness
from mentorch.networks import Taps

SPACE = LabelSpace.union({"a": "uv", "b": "vw", "c": "uvw"})
IMAGES = torch.rand(90, 3, 1, 1, generator=torch.Generator().manual_seed(0))


class Knows(nn.Module):
    """Reads its classes off the brightness of their channels; its features keep some of that."""

    def __init__(self, channels: tuple[int, ...], kept: float):
        super().__init__()
        self.channels = channels
        self.features, self.fc = nn.Identity(), nn.Identity()
        self.kept = nn.Parameter(torch.tensor(kept))
        self.noise = torch.randn(90, len(channels), generator=torch.Generator().manual_seed(len(channels)))

    def forward(self, x):
        own = 50 * x.flatten(1)[:, list(self.channels)]
        noisy = self.kept * own + (1 - self.kept) * 50 * self.noise[: len(x)]
        return own + 0 * self.fc(self.features(noisy))


TEACHERS = {"a": Knows((0, 1), 0.1), "b": Knows((1, 2), 0.9), "c": Knows((0, 1, 2), 1.0)}
READ = dict.fromkeys("abc", Taps("features", (), "fc:in"))


def test_a_teacher_whose_features_hold_the_classes_is_the_most_useful():
    score = usefulness(transferability.logme, TEACHERS, IMAGES, space=SPACE, places=READ)
    scores = {name: score(name, network) for name, network in TEACHERS.items()}
    assert max(scores, key=scores.__getitem__) == "c"
    assert min(scores, key=scores.__getitem__) == "a"
    said = IMAGES.flatten(1)
    labels = said.argmax(1)  # the mean logits of owners order the channels as their brightness does
    expected = transferability.logme(50 * said, labels)
    assert scores["c"] == pytest.approx(expected.item())
    assert next(iter(choose_teachers(TEACHERS, score, space=SPACE, keep=1))) == "c"


def test_probabilities_are_those_of_the_teachers_own_classes():
    score = usefulness(transferability.leep, TEACHERS, IMAGES, space=SPACE)
    said = IMAGES.flatten(1)
    expected = transferability.leep((50 * said[:, :2]).softmax(1), said.argmax(1))
    assert score("a", TEACHERS["a"]) == pytest.approx(expected.item())


def test_each_sees_its_own_view_and_stays_as_it_is():
    views = {name: nn.Dropout(0.0).train() for name in "abc"}
    before = {name: network.training for name, network in TEACHERS.items()}
    score = usefulness(transferability.leep, TEACHERS, IMAGES, space=SPACE, views={**views, "a": lambda x: 1 - x})
    plain = usefulness(transferability.leep, TEACHERS, IMAGES, space=SPACE)
    assert score("a", TEACHERS["a"]) != plain("a", TEACHERS["a"])
    assert {name: network.training for name, network in TEACHERS.items()} == before


def test_teachers_of_other_classes_have_no_say():
    some = SPACE.only("uv")
    others = LabelSpace(some.names, {**some.parts, "d": (-1, -1)})
    score = usefulness(transferability.leep, {**TEACHERS, "d": nn.Identity()}, IMAGES, space=others)
    plain = usefulness(transferability.leep, TEACHERS, IMAGES, space=some)
    assert score("a", TEACHERS["a"]) == plain("a", TEACHERS["a"])


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="unknown score of usefulness 'cka'"):
        usefulness(transferability.cka, TEACHERS, IMAGES, space=SPACE)
    with pytest.raises(UsageError, match="unknown score of usefulness"):
        usefulness(lambda features, labels: 0, TEACHERS, IMAGES, space=SPACE)
    with pytest.raises(UsageError, match=r"usefulness needs images \[N, C, H, W\], got \[0, 3, 1, 1\]"):
        usefulness(transferability.logme, TEACHERS, IMAGES[:0], space=SPACE)
