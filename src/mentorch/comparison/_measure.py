"""Everything that is measured of a finished network."""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mentorch import metrics
from mentorch._errors import RunError
from mentorch._graph import View
from mentorch._tap import Address, Tap
from mentorch.data import Batches, Split
from mentorch.training import evaluating


def outputs(
    network: nn.Module, split: Split, *, view: View | None = None, embedding: str | None = None, batch_size: int = 256
) -> tuple[Tensor, Tensor | None]:
    """What a network says about a whole split, in order, without augmentation.

    Args:
        network: run in evaluation mode, left as it was.
        split: images.
        view: what the network sees of the inputs.
        embedding: also read this place, such as ``fc:in``.
        batch_size: memory only.

    Returns:
        Logits ``[N, K]``, and the embedding ``[N, D]`` or None.
    """
    tap, handle = None, None
    if embedding is not None:
        path, _, pick = embedding.partition(":")
        tap = Tap(Address("network", path, pick))
        handle = tap.install(network)
    logits, features = [], []
    try:
        with evaluating(network):
            for batch in Batches(split, batch_size):
                if tap is not None:
                    tap.open()
                logits.append(network(batch.inputs if view is None else view(batch.inputs)))
                if tap is not None:
                    features.append(tap.take().flatten(1))
    finally:
        if handle is not None:
            handle.remove()
    return torch.cat(logits), torch.cat(features) if features else None


@dataclass(frozen=True)
class Neighbours:
    """How an embedding is judged by the training samples that lie near.

    Attributes:
        reference: the samples that are searched.
        embedding: where it is read, such as ``fc:in``.
        k: neighbours that vote; 0 leaves the vote out.
        retrieval: also rank all of ``reference`` for each sample.
    """

    reference: Split
    embedding: str
    k: int = 5
    retrieval: bool = False

    def judge(self, known: Tensor, features: Tensor, labels: Tensor) -> dict[str, float]:
        """Metric -> value, for features ``[M, D]`` with labels ``[M]`` and those of the reference ``[N, D]``."""
        found: dict[str, float] = {}
        if self.k:
            found["knn"] = metrics.knn(known, self.reference.labels, features, labels, k=self.k).accuracy
        if self.retrieval:
            depths = [depth for depth in (10, 50, 200) if depth <= len(known)]
            ranked = metrics.retrieval(known, self.reference.labels, features, labels, at=depths)
            found["retrieval_map"] = ranked.interpolated
            found |= {f"precision_at_{depth}": value for depth, value in ranked.precision.items()}
        return found


def on_views(
    network: nn.Module, shown: Iterable[Any], *, view: View | None = None, enough: int = 1000
) -> dict[str, float]:
    """How right and how undecided a network is about images as a student sees them in training.

    Args:
        network: logits ``[N, K]``; run in evaluation mode, left as it was.
        shown: batches of inputs and labels, augmented.
        view: what the network sees of the inputs.
        enough: so many images suffice; whole batches are taken.

    Returns:
        ``accuracy``, mean ``entropy`` of its class probabilities in nats, and ``images``, their number.
    """
    logits, labels, images = [], [], 0
    with evaluating(network):
        for batch in shown:
            logits.append(network(batch.inputs if view is None else view(batch.inputs)))
            labels.append(batch.labels)
            images += len(batch.labels)
            if images >= enough:
                break
    found = torch.cat(logits)
    log_p = found.float().log_softmax(1)
    right = _mean(metrics.accuracy(found, torch.cat(labels)))
    return {"accuracy": float(right), "entropy": float(_mean(-(log_p.exp() * log_p).sum(1))), "images": images}


def latency(network: nn.Module, example: Tensor, repeats: int = 15) -> float:
    """Median seconds of a forward pass on ``example``; a number of this machine at this moment."""
    seconds = []
    with evaluating(network):
        for _ in range(repeats + 2):
            began = time.perf_counter()
            network(example)
            if example.is_cuda:
                torch.cuda.synchronize(example.device)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


def measure(
    network: nn.Module,
    split: Split,
    *,
    view: View | None = None,
    teacher_logits: Tensor | None = None,
    neighbours: Neighbours | None = None,
    batch_size: int = 256,
) -> dict[str, float]:
    """Accuracy, top-5, cross-entropy, mean squared error and calibration on a split; more where it is asked for.

    Args:
        network: logits ``[N, K]``.
        split: the images and labels it is measured on.
        view: what the network sees of the inputs.
        teacher_logits: also measure the agreement with these, and the divergence from them.
        neighbours: also judge the embedding by its neighbours.
        batch_size: memory only.

    Returns:
        Metric -> value; accuracies are fractions.

    Raises:
        RunError: if the network's answers are not finite.
    """
    embedding = neighbours.embedding if neighbours else None
    logits, features = outputs(network, split, view=view, embedding=embedding, batch_size=batch_size)
    labels = split.labels
    entropy = _mean(metrics.cross_entropy(logits, labels))
    if not (logits.isfinite().all() and entropy.isfinite()):
        raise RunError("the network has diverged: what it says of these images is not finite")
    found: dict[str, Any] = {
        "accuracy": _mean(metrics.accuracy(logits, labels)),
        "cross_entropy": entropy,
        "mse": _mean(metrics.mean_squared_error(logits, labels)),
        "ece": metrics.calibration_error(logits, labels),
    }
    if logits.shape[1] > 5:
        found["top5"] = _mean(metrics.top_k(logits, labels, k=5))
    if teacher_logits is not None:
        found["agreement"] = _mean(metrics.agreement(logits, teacher_logits))
        found["teacher_kl"] = _mean(metrics.divergence(logits, teacher_logits))
    if neighbours is not None and features is not None:
        _, known = outputs(network, neighbours.reference, view=view, embedding=embedding, batch_size=batch_size)
        assert known is not None
        found |= neighbours.judge(known, features, labels)
    return {name: float(value) for name, value in found.items()}


def _mean(values: Tensor) -> Tensor:
    return values.mean(dtype=torch.float64)  # as in the histories: 17 of 144 is 17 / 144
