"""Networks on a Ray cluster."""

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from mentorch import zoo
from mentorch._errors import UsageError
from mentorch.transferability._engines import DIED, TRIES, Outcome, Work, arrays, attempt, tensors


def on_ray(work: Work, entries: Iterable[zoo.Entry], *, workers: int) -> Iterator[tuple[zoo.Entry, Outcome]]:
    """Networks on a Ray cluster: that of ``$RAY_ADDRESS``, or one of this machine that ends with the work.

    The zoo must have the same path on every machine; embeddings come back over the network. What a lost worker had in
    hand is done again by another, three times in all.

    Args:
        work: what is done to each.
        entries: networks.
        workers: how many at once, each with one core.

    Raises:
        UsageError: if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("the engine ray needs Ray: pip install 'mentorch[ray]'") from error
    own = not ray.is_initialized()
    if own:
        local: Any = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
    try:
        given = ray.put(work)
        remote = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_remotely)
        waiting, busy = deque(entries), dict[Any, zoo.Entry]()
        while waiting or busy:
            while waiting and len(busy) < workers:
                entry = waiting.popleft()
                busy[remote.remote(given, entry)] = entry
            (done,), _ = ray.wait(list(busy), num_returns=1)
            try:
                outcome = tensors(ray.get(done))
            except ray.exceptions.RayError:
                outcome = DIED
            yield busy.pop(done), outcome
    finally:
        if own:
            ray.shutdown()


def _remotely(work: Work, entry: zoo.Entry) -> Any:
    torch.set_num_threads(1)
    return arrays(attempt(work, entry))
