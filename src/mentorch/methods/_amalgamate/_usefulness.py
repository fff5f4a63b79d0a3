"""How useful each teacher is for images that nobody labelled, by a score of transferability."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mentorch import transferability
from mentorch._errors import UsageError, unknown
from mentorch._graph import View
from mentorch.data import LabelSpace
from mentorch.losses import Concatenated
from mentorch.methods._amalgamate._codes import read
from mentorch.methods._amalgamate._ensemble import JointEnsemble
from mentorch.networks import Taps, taps
from mentorch.training import evaluating

_AT_ONCE = 256


def usefulness(
    score: Callable[..., Any],
    teachers: Mapping[str, nn.Module],
    images: Tensor,
    *,
    space: LabelSpace,
    kd: Callable[..., Concatenated] = Concatenated,
    views: Mapping[str, View] | None = None,
    places: Mapping[str, Taps] | None = None,
) -> Callable[[str, nn.Module], float]:
    """What :func:`choose_teachers` asks: how well a teacher's features hold the classes that are wanted.

    Labels are not needed: what all teachers together say of an image, among the classes of ``space``, takes their
    place. A teacher that carries what the others say too is useful; so this says which of several is redundant, not
    whether all of them are wrong. Ours; customised amalgamation has no published rule::

        score = usefulness(transferability.logme, teachers, images, space=space)
        kept = choose_teachers(teachers, score, space=space, keep=2)

    Args:
        score: of :mod:`mentorch.transferability`, one that needs labels and the features of a network, read where its
            classifier reads them, or its probabilities.
        teachers: name -> network; they are left as they are.
        images: shape ``[N, C, H, W]``; some hundreds are enough.
        space: the classes wanted, one part for each teacher.
        kd: how the teachers' logits are joined, see :func:`amalgamate`.
        views: per teacher, what it sees of the images.
        places: for teachers that do not say where their features are.

    Raises:
        UsageError: for a score that needs something else, and as :class:`JointEnsemble`; later, for images of which
            the teachers say all the same.
    """
    facts = next((i for i in transferability.catalogue().values() if i.function is score), None)
    usable = {name: i for name, i in transferability.catalogue().items() if i.needs[1:] == ("labels",)}
    if facts is None or facts.name not in usable:
        raise unknown("score of usefulness", getattr(score, "__name__", repr(score)), usable)
    if images.ndim != 4 or not len(images):
        raise UsageError(f"usefulness needs images [N, C, H, W], got {list(images.shape)}")
    own, batches = views or {}, torch.split(images, _AT_ONCE)
    teachers = {name: net for name, net in teachers.items() if any(k >= 0 for k in space.parts.get(name, (0,)))}
    with torch.no_grad(), evaluating(*teachers.values()):
        together = JointEnsemble(teachers, space, kd=kd, views=own).to(images.device)
        labels = torch.cat([together(batch).argmax(1) for batch in batches])

    def of(name: str, network: nn.Module) -> float:
        wanted = facts.needs[0]
        place = "" if wanted == "probabilities" else ((places or {}).get(name) or taps(network)).embedding
        with torch.no_grad(), evaluating(network):
            seen = (own[name](batch) if name in own else batch for batch in batches)
            shown = [read(network, [place] if place else [], batch) for batch in seen]
        if wanted == "probabilities":
            return float(score(torch.cat([logits for _, logits in shown]).softmax(1), labels))
        return float(score(torch.cat([features[0].flatten(1) for features, _ in shown]), labels))

    return of
