import json
import sys

import pytest

from mentorch import zoo
from mentorch._errors import RunError, UsageError
from mentorch.networks import state_hash


def by_name(root):
    return {entry.name: entry for entry in zoo.entries(root)}


def test_every_network_below_a_folder_is_listed_with_card_and_hash(tmp_path, keep):
    keep("b", "x/one")
    keep("a", "two")
    found = list(zoo.entries(tmp_path))
    assert [entry.name for entry in found] == ["a", "b"]
    for entry in found:
        network, card = entry.load()
        assert entry.failure == ""
        assert entry.card == card == zoo.read(entry.folder)
        assert entry.hash == state_hash(network)


def test_one_that_cannot_be_used_never_stops_the_rest(tmp_path, keep):
    keep("good")
    for name, content in (("json", "{"), ("list", "[]"), ("schema", '{"schema": "other"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(content)
    (keep("bare") / "model.safetensors").unlink()
    card = keep("fields") / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"licens": "MIT"}))
    found = by_name(tmp_path)
    assert not found.pop("good").failure
    reasons = {name: entry.failure for name, entry in found.items()}
    assert "damaged or not JSON" in reasons["json"]
    assert "its schema is not" in reasons["list"]
    assert "its schema is not" in reasons["schema"]
    assert "has a card but no model.safetensors" in reasons["bare"]
    assert "licens" in reasons["fields"]
    assert not any("\n" in text for text in reasons.values())
    assert found["bare"].card is not None
    assert found["json"].card is None
    assert found["json"].hash is None
    with pytest.raises(UsageError, match=r"json: .*damaged"):
        found["json"].load()


def test_a_card_that_is_no_text_is_a_failure_too(tmp_path, keep):
    keep("good")
    (tmp_path / "bytes").mkdir()
    (tmp_path / "bytes/card.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder/card.json").mkdir(parents=True)
    assert [bool(entry.failure) for entry in zoo.entries(tmp_path)] == [True, True, False]


def test_of_twins_the_later_one_fails_and_names_the_other(tmp_path, keep):
    keep("a", "first")
    keep("a", "second")
    first, second = zoo.entries(tmp_path)
    assert not first.failure
    assert second.failure == f"two networks are called 'a': the other is {tmp_path / 'first'}"


def test_a_name_of_a_failure_is_free(tmp_path, keep):
    (keep("a", "first") / "model.safetensors").unlink()
    keep("a", "second")
    assert [bool(entry.failure) for entry in zoo.entries(tmp_path)] == [True, False]


def test_cards_of_caches_and_searches_are_not_about_networks(tmp_path, keep):
    keep("good")
    other = {"cache": {"schema": "mentorch.cache/2"}, "partners/a": {"network": "cnn_tiny", "sha256": "0"}}
    newer = {"newer": {"schema": "mentorch.card/9"}, "odd": {"schema": "x/1"}}
    for name, content in (other | newer).items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "card.json").write_text(json.dumps(content))
    assert [entry.name for entry in zoo.entries(tmp_path)] == ["good", *newer]


def test_a_folder_that_is_not_there_is_an_error_at_once(tmp_path):
    with pytest.raises(UsageError, match="gone is not a folder"):
        zoo.entries(tmp_path / "gone")
    assert list(zoo.entries(tmp_path)) == []


def test_check_reads_the_weights(tmp_path, keep):
    keep("good")
    path = keep("other") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(bytes(content))
    card = keep("unknown") / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"network": "resnet9999x"}))
    found = {entry.name: zoo.check(entry) for entry in zoo.entries(tmp_path)}
    assert found["good"].failure == ""
    assert "is not what its card says: hash" in found["other"].failure
    assert "unknown network 'resnet9999x'" in found["unknown"].failure
    assert zoo.check(found["other"]) is found["other"]


def test_code_of_others_runs_only_where_it_is_trusted(tmp_path, keep, monkeypatch):
    (tmp_path / "odd.py").write_text("def build(num_classes):\n    raise KeyError('no such thing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    card = keep("code") / "card.json"
    changes = {"network": "odd:build", "arguments": {"num_classes": 3}}
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))
    (entry,) = zoo.entries(tmp_path)
    assert "pass trust=True" in zoo.check(entry).failure
    assert zoo.check(entry, trust=True).failure == "KeyError: 'no such thing'"
    sys.modules.pop("odd")


def test_reasons_are_one_line():
    assert zoo.reason(RunError("a\n  b")) == "a b"
    assert zoo.reason(ValueError("x")) == "ValueError: x"
