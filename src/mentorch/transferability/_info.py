"""What a program has to know about a score to compute and to read it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Needs = Literal["features", "probabilities", "labels", "reference", "attributions"]
Invariance = Literal["scale", "shift", "units", "rotation", "affine", "names"]


@dataclass(frozen=True)
class ScoreInfo:
    """Facts about a score, as data. Of every score, higher is better.

    Attributes:
        function: the score, called with what it ``needs``, in that order; options are keywords.
        needs: ``features`` of the candidate on the target's samples; ``probabilities`` of its own classes there;
            ``labels`` of the target; ``attributions`` and features of the candidate on a probe set (a ``Reading``); or,
            in place of labels, the same of a ``reference``, a network that is good at the target.
        range: the values that are possible, in words; C classes, N samples, D dimensions.
        summary: one line for a list.
        paper: where it is from.
        invariances: what may be done to the features without any effect on the score: multiply all by a number
            (``scale``), or each dimension by its own (``units``); add a vector to all (``shift``); rotate
            (``rotation``); any invertible affine map (``affine``, which includes the others); for all that need labels,
            other integers for the same classes (``names``), so that gaps between them do not matter.
        tasks: kinds of labels that it understands.
        uninformative: when it says nothing about the features, in words; it warns then.
    """

    function: Callable[..., Any]
    needs: tuple[Needs, ...]
    range: str
    summary: str
    paper: str
    invariances: tuple[Invariance, ...]
    tasks: tuple[Literal["classes", "multi-label", "regression"], ...] = ("classes",)
    uninformative: str = ""

    @property
    def name(self) -> str:
        """What it is called in lists.

        >>> ScoreInfo(max, ("features", "labels"), "", "", "", ()).name
        'max'
        """
        return self.function.__name__
