from mentorch import data, networks


def test_all_data_sets_are_listed_with_where_they_are(mentorch) -> None:
    result = mentorch("data", "list")
    assert (result.code, result.err) == (0, "")
    for name in data.names():
        if ":" not in name:
            assert name in result.out
    assert "comes with scikit-learn" in result.out


def test_a_data_set_is_read_and_described(mentorch) -> None:
    result = mentorch("data", "info", "digits")
    found = data.load("digits")
    assert result.code == 0
    for text in (f"{len(found.train):,} images", "1x8x8", f"{found.mean[0]:.4f}", found.fingerprint, "10: 0, 1, 2"):
        assert text in result.out, text


def test_networks_are_listed_with_their_cost(mentorch) -> None:
    result = mentorch("zoo", "networks", "--classes", "10", "--size", "32")
    assert (result.code, result.err) == (0, "")
    lines = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line.strip()}
    assert set(networks.names()) <= set(lines)
    parameters = sum(p.numel() for p in networks.build("resnet20", num_classes=10).parameters())
    assert lines["resnet20"][0] == f"{parameters:,}"
    assert int(lines["resnet20"][1].replace(",", "")) > 4e7
