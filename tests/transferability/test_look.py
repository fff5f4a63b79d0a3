import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from mentorch import UsageError, zoo
from mentorch import transferability as tr
from mentorch.networks import CNN, Taps
from mentorch.transferability._look import Target, info_of, title

INPUT = zoo.Input(3, (8, 8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
CARD = zoo.Card("net", "cnn", {"in_channels": 3}, input=INPUT)
IMAGES = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3


def network(seed=0):
    torch.manual_seed(seed)
    return CNN(5, widths=(4, 6)).eval()


def target(images=IMAGES, **changed):
    asked = {"at": None, "probes": 2, "batch_size": 4, "trust": False, "reference": None}
    return Target(images, LABELS, **{**asked, **changed})


def needing(*needs):
    """A score that returns what it was given, and its facts."""
    return lambda *given: given, tr.ScoreInfo(print, needs, "", "", "", ())


def test_features_are_read_where_the_caller_says_else_the_card_else_the_network():
    taps = dataclasses.replace(CARD, taps=Taps("", (), "layer2.1"))
    for at, card, found in (("layer1.0", taps, "layer1.0"), (None, taps, "layer2.1"), (None, CARD, "fc:in")):
        assert target(at=at).look(network(), card).at == f"network.{found}"


def test_every_need_is_given_in_its_order():
    other = (network(1), CARD)
    look = target(reference=other).look(network(), CARD)
    score, info = needing("features", "labels", "probabilities", "attributions", "reference")
    features, labels, probabilities, attributions, reference = look.score(score, info)
    assert labels is LABELS
    fed = (IMAGES / 255 - torch.tensor(INPUT.mean)[:, None, None]) / torch.tensor(INPUT.std)[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(probabilities, network()(fed).softmax(1), rtol=1e-4, atol=1e-5, check_dtype=False)
    seen = tr.observe(network(), fed, at="fc:in")
    torch.testing.assert_close(features.values, seen.features, rtol=1e-4, atol=1e-5)
    assert len(attributions.features) == 2
    assert reference is target_of(look).features
    assert not torch.equal(reference.values, features.values)
    score, info = needing("attributions", "reference")
    assert look.score(score, info)[1] is target_of(look).reading  # of the same kind as the candidate's


def target_of(look):
    """The reference, as its target keeps it."""
    return look.target.known


def test_images_are_passed_once_whatever_is_asked_and_probes_only_if_they_are():
    net, passed = network(), []
    net.register_forward_hook(lambda module, args, output: passed.append(len(args[0])))
    look = target().look(net, CARD)
    assert passed == []
    for _ in range(2):
        look.score(*needing("features", "labels"))
        look.score(*needing("probabilities"))
    assert passed == [4, 2]
    look.score(*needing("attributions"))
    assert sum(passed[2:]) >= 2
    assert max(passed[2:]) <= 4


@pytest.mark.parametrize("images", [IMAGES, IMAGES.float() / 255], ids=["bytes", "numbers in [0, 1]"])
def test_bytes_and_numbers_are_the_same_probes(images):
    found = target(images).look(network(), CARD).reading
    expected = tr.explain(zoo.prepared(network(), CARD), IMAGES[:2].float() / 255, at="network.fc:in")
    torch.testing.assert_close(found.features, expected.features)
    torch.testing.assert_close(found.maps, expected.maps)


def test_a_missing_reference_is_named():
    with pytest.raises(UsageError, match="there is no reference to compare with"):
        target().look(network(), CARD).score(*needing("features", "reference"))


def test_facts_are_found_whatever_options_are_bound():
    assert info_of(tr.knn) is info_of(partial(partial(tr.knn, k=3), k=5))
    assert info_of(tr.knn).function is tr.knn


def mine(features, labels):
    return labels


@pytest.mark.parametrize(
    ("score", "name"),
    [(mine, "mine"), (partial(mine), "mine"), (len, "len"), (tr.observe, "observe"), ("logme", "logme"), (3, "3")],
)
def test_what_is_no_score_of_this_package_is_named(score, name):
    with pytest.raises(UsageError, match=f"^{name} is not a score of mentorch.transferability$"):
        info_of(score)


def test_titles_tell_options_apart():
    assert title(partial(tr.knn, k=3)) != title(partial(tr.knn, k=5)) != title(tr.knn) == "knn"
    assert title(nn.functional.relu) == "relu"
