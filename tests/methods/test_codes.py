import pytest
import torch
from torch import nn

from mentorch import UsageError
from mentorch.methods._amalgamate._codes import Coded, Codes, Seen, channels, linear, read

IMAGES = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TRAIN = [(IMAGES[i : i + 8],) for i in range(0, 24, 8)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def maps(width: int, classes: int = 2) -> nn.Module:
    """A convolution ``0`` whose output is written over."""
    layers = nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(width * 64, classes)
    return nn.Sequential(*layers).double()


def tokens(width: int, classes: int = 2) -> nn.Module:
    """A linear layer ``1`` on the rows of an image."""
    return nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, width), nn.Flatten(), nn.Linear(24 * width, classes)).double()


def vectors(width: int, classes: int = 2) -> nn.Module:
    """A linear layer ``1`` on the whole image."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.Linear(width, classes)).double()


def seen_by(make, widths=(6, 4), own: int = 5, views=None) -> tuple[nn.Module, Seen]:
    """The student's layer, and what two teachers show beside it."""
    place = "0" if make is maps else "1"
    student = make(own)
    shape = read(student, [place], IMAGES[:2])[0][0].shape[1:]
    own_teachers = {name: make(width) for name, width in zip("ab", widths, strict=True)}
    return student.get_submodule(place), Seen(own_teachers, [dict.fromkeys("ab", place)], [shape], views or {})


def rows(feature: torch.Tensor) -> torch.Tensor:
    return feature.movedim(channels(feature), -1).flatten(0, -2)


def test_a_feature_is_read_as_its_module_made_it_and_nothing_stays_behind() -> None:
    network = maps(4)
    (shown,), output = read(network, ["0"], IMAGES[:2])
    torch.testing.assert_close(shown, network[0](IMAGES[:2]))
    assert shown.min() < 0  # as it was before it was written over
    torch.testing.assert_close(output, network(IMAGES[:2]))
    with pytest.raises(RuntimeError):
        read(network, ["0"], IMAGES[:2, :2])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("make", [maps, tokens, vectors])
def test_features_of_all_teachers_lie_side_by_side_in_their_order(make) -> None:
    _, seen = seen_by(make, views={"b": lambda x: 1 - x})
    place = "0" if make is maps else "1"
    found = seen(IMAGES[:2])
    given = {"a": IMAGES[:2], "b": 1 - IMAGES[:2]}
    shown = [read(seen.teachers[name], [place], given[name]) for name in "ab"]
    torch.testing.assert_close(
        found["layer0"], torch.cat([feature for (feature,), _ in shown], 1 if make is maps else -1)
    )
    for name, (_, output) in zip("ab", shown, strict=True):
        torch.testing.assert_close(found[f"of_{name}"], output)
    assert found["inputs"] is not None
    assert not found["layer0"].requires_grad


def test_larger_maps_are_averaged_down_to_those_of_the_student() -> None:
    seen = Seen({"a": maps(6)}, [{"a": "0"}], [torch.Size([5, 4, 2])], {})
    found = seen(IMAGES[:2])["layer0"]
    whole = read(seen.teachers["a"], ["0"], IMAGES[:2])[0][0]
    torch.testing.assert_close(found, whole.reshape(2, 6, 4, 2, 2, 4).mean((3, 5)))


@pytest.mark.parametrize(
    ("make", "shape", "shown"),
    [
        (maps, [5, 9, 8], r"\[6, 8, 8\], the student's layer \[5, 9, 8\]"),
        (maps, [64, 5], r"\[6, 8, 8\], the student's layer \[64, 5\]"),
        (tokens, [16, 5], r"\[24, 6\], the student's layer \[16, 5\]"),
        (tokens, [5], r"\[24, 6\], the student's layer \[5\]"),
        (vectors, [5, 8, 8], r"\[6\], the student's layer \[5, 8, 8\]"),
    ],
)
def test_positions_that_do_not_fit_are_named(make, shape, shown) -> None:
    place = "0" if make is maps else "1"
    seen = Seen({"a": make(6)}, [{"a": place}], [torch.Size(shape)], {})
    with pytest.raises(UsageError, match=f"^a.{place} shows {shown}: a layer can hold maps of its own size") as caught:
        seen(IMAGES[:2])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [maps, tokens, vectors])
def test_principal_components_are_the_optimum_of_the_auto_encoder(make) -> None:
    layer, seen = seen_by(make)
    codes = Codes([layer], [10]).double()
    codes.solve(seen, TRAIN)
    x = seen(IMAGES)["layer0"]
    error = nn.functional.mse_loss(codes({"layer0": x})["layer0"], x)
    discarded = torch.linalg.eigvalsh(rows(x).mT.cov(correction=0))[: 10 - 5].sum() / 10
    torch.testing.assert_close(error, discarded)
    gradients = torch.autograd.grad(error, list(codes.parameters()))
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients)


def test_how_the_data_are_cut_into_batches_does_not_matter() -> None:
    layer, seen = seen_by(maps)
    found = []
    for batches in (TRAIN, [IMAGES], [IMAGES[:1], IMAGES[1:]]):  # with or without labels beside them
        codes = Codes([layer], [10]).double()
        codes.solve(seen, batches)
        found.append(codes({"layer0": seen(IMAGES)["layer0"]})["layer0"])
    for other in found[1:]:
        torch.testing.assert_close(found[0], other)


def test_a_code_wider_than_all_features_loses_nothing_and_leaves_the_rest_at_zero() -> None:
    layer, seen = seen_by(maps, own=14)
    codes = Codes([layer], [10]).double()
    codes.solve(seen, TRAIN)
    x = seen(IMAGES)["layer0"]
    torch.testing.assert_close(codes({"layer0": x})["layer0"], x)
    assert not codes.encode[0](x)[:, 10:].any()


def test_codes_are_those_of_the_encoder_and_have_no_gradient() -> None:
    layer, seen = seen_by(tokens)
    codes = Codes([layer], [10]).double()
    found = Coded(seen, codes)(IMAGES[:2])
    torch.testing.assert_close(found["code0"], codes.encode[0](found["layer0"]))
    assert found["code0"].shape == (2, 24, 5)
    assert not found["code0"].requires_grad
    assert set(found) == {"inputs", "of_a", "of_b", "layer0", "code0"}


@pytest.mark.parametrize("bias", [True, False])
def test_maps_between_channels_are_of_the_layer_s_kind(bias) -> None:
    for layer, kind, shape in ((nn.Conv2d(3, 4, 3), nn.Conv2d, (5, 2, 1, 1)), (nn.Linear(3, 4), nn.Linear, (5, 2))):
        found = linear(layer, 2, 5, bias=bias)
        assert type(found) is kind
        assert found.weight.shape == shape
        assert (found.bias is not None) == bias
