"""Networks on disk with a card that says what they are.

card = zoo.save(student, "zoo/small", Card("small", "resnet8", {"num_classes": 10}))
network, card = zoo.load("zoo/small")
"""

from mentorch.zoo._card import Card, Input
from mentorch.zoo._store import find, load, read, save, tag

__all__ = ["Card", "Input", "find", "load", "read", "save", "tag"]
