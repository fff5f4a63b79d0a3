"""Networks compared by what they look at and by how they relate the probes to each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mentorch._errors import RunError, UsageError
from mentorch.transferability._explain import Reading, explain
from mentorch.transferability._info import ScoreInfo
from mentorch.transferability._lens import LAYER_SELECTION, Lens
from mentorch.transferability._ranks import off_diagonal, standard_ranks


@dataclass(frozen=True)
class Similarity:
    """Two networks on the same probes; the weight of the second part is chosen when it is read.

    Attributes:
        nodes: mean cosine of attribution maps, V, in [-1, 1].
        edges: rank correlation of the cosines between probes, E, in [-1, 1].

    >>> Similarity(0.5, 0.25).at(2.0)
    1.0
    """

    nodes: float
    edges: float

    def at(self, weight: float) -> float:
        """V plus ``weight`` times E."""
        return self.nodes + weight * self.edges


def depara(reading: Reading, reference: Reading, *, weight: float = 1.0) -> Tensor:
    r"""Similarity of the attribution graphs of two networks: nodes plus weighted edges.

    .. math:: S = V + \lambda E, \quad V = \frac{1}{P} \sum_i \cos(a_i, a'_i), \quad
        E = \operatorname{Spearman}_{i < j} \left( \cos(f_i, f_j), \cos(f'_i, f'_j) \right)

    with attribution maps a and features f of the same probes (those centred over probes if the lens says so), pairs off
    the diagonal, and average ranks. Published weights: 0.25, 0.03 and 0.27 for three probe sets, chosen on the answer.

    Args:
        reading: of the candidate.
        reference: of a network that is good at the target; through the same lens, on the same probes.
        weight: :math:`\lambda`.

    Returns:
        At most :math:`1 + \lambda`, which a network reaches with itself; higher is better; a float64 scalar.

    Raises:
        UsageError: for readings of other probes or through another lens.
        RunError: if all probes are equally similar to one of the networks.

    References:
        Song et al., "DEPARA: Deep Attribution Graph for Deep Knowledge Transferability", CVPR 2020, arXiv 2003.07496,
        equations 1 to 6.
    """
    value = compare(reading, reference).at(weight)
    return torch.tensor(value, dtype=torch.float64, device=reading.maps.device)


def compare(first: Reading, second: Reading) -> Similarity:
    """Both parts of :func:`depara`, so that its weight can be chosen later."""
    if first.probes != second.probes or first.lens != second.lens:
        raise UsageError(
            "depara: readings are of other probes"
            if first.probes != second.probes
            else f"depara: readings through two lenses: {first.lens!r} and {second.lens!r}"
        )
    nodes = (unit_maps(first.maps) * unit_maps(second.maps)).sum(1).mean()
    edges = relation_ranks(first) @ relation_ranks(second)
    return Similarity(float(nodes), float(edges))


def layer_similarities(
    network: nn.Module,
    reference: Reading,
    probes: Tensor,
    layers: Sequence[str],
    *,
    lens: Lens = LAYER_SELECTION,
    batch_size: int = 64,
) -> dict[str, Similarity]:
    """How similar each layer of a network is to a reference: transfer from the most similar one.

    Each layer is explained on its own, from a fresh pass: its maps do not depend on which others are asked for.

    Args:
        network: the source.
        reference: of a network that is good at the target, read through ``lens`` on ``probes``.
        probes: shape ``[P, C, H, W]``.
        layers: addresses in the network, see :func:`explain`.
        lens: as published for layers.
        batch_size: probes at once.
    """
    return {
        layer: compare(explain(network, probes, lens, at=layer, batch_size=batch_size), reference) for layer in layers
    }


def unit_maps(maps: Tensor) -> Tensor:
    """Maps of length one, float64, flattened, shape ``[P, H W]``; a map of zeros stays zero."""
    rows = maps.double().flatten(1)
    rows = rows / rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)  # no square vanishes
    return torch.nn.functional.normalize(rows, dim=1)


def relations(features: Tensor, *, centred: bool) -> Tensor:
    """Cosines between the features of all pairs of probes, float64, shape ``[P (P - 1) / 2]``."""
    rows = features.double().flatten(1)
    rows = unit_maps(rows - rows.mean(0) if centred else rows)
    return off_diagonal(rows @ rows.mT)


def relation_ranks(reading: Reading, chosen: Tensor | None = None) -> Tensor:
    """Standardized ranks of the cosines between probes, of all pairs or the ``chosen`` ones.

    Raises:
        RunError: if they are all equal.
    """
    cosines = relations(reading.features, centred=reading.centred)
    ranks = standard_ranks(cosines if chosen is None else cosines[chosen])
    if not ranks.any():
        raise RunError(f"depara: all {len(ranks)} pairs of probes are equally similar to the network: take more probes")
    return ranks


INFO = (
    ScoreInfo(
        depara,
        needs=("attributions", "reference"),
        range="[-1 - weight, 1 + weight]",
        summary="similarity of attribution graphs to those of a reference",
        paper="Song et al., CVPR 2020, arXiv 2003.07496",
        invariances=("scale", "rotation"),
        uninformative="attributions are zero for some probes",
    ),
)
