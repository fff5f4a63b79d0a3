"""Networks on disk with a card that says what they are.

card = zoo.save(student, "zoo/small", Card("small", "resnet8", {"num_classes": 10}))
network, card = zoo.load("zoo/small")
for entry in zoo.entries("zoo"):
    print(entry.name, entry.hash, entry.failure)
"""

from mentorch.zoo._add import add, changed, place
from mentorch.zoo._card import Card, Input
from mentorch.zoo._entries import Entry, check, entries, reason
from mentorch.zoo._prepare import Prepare, prepared
from mentorch.zoo._pt2 import from_pt2
from mentorch.zoo._readers import from_hf, from_timm
from mentorch.zoo._store import load, read, save, tag

__all__ = [
    "Card",
    "Entry",
    "Input",
    "Prepare",
    "add",
    "changed",
    "check",
    "entries",
    "from_hf",
    "from_pt2",
    "from_timm",
    "load",
    "place",
    "prepared",
    "read",
    "reason",
    "save",
    "tag",
]
