"""Who looks at the networks of a zoo, by the names that the command line has for it."""

from functools import partial

from mentorch.transferability import Engine, here, in_processes, on_ray


def engine(name: str, workers: int) -> Engine:
    """``local``: this process, or several of this machine; ``ray``: a Ray cluster."""
    if name == "ray":
        return partial(on_ray, workers=workers)
    return here if workers == 1 else partial(in_processes, workers=workers)
