"""What went on inside of the trainings, as rows and sentences: loud and quiet edges, who is right, where time goes."""

from statistics import median

from mentorch.reports._format import MISSING, count, dig, milliseconds, number, signed, text
from mentorch.reports._links import Link
from mentorch.reports._looks import MANY, Looks, is_labels
from mentorch.reports._study import Study

LOUD = 10.0  # times louder or quieter than the labels: worth a sentence
TOLD = 6  # sentences

EDGES = (
    "One batch, looked at about ten times in training: the median over these looks and the seeds. "
    "Loss: after the gate. Gradient: norm on the parameters of the "
    "network that learns; share: of the sum of the norms of its edges. Cosine: between the gradients of the edge and "
    "of the labels. Equal at: the weight with which the gradient would be as long as that of the labels."
)
PAIRS = (
    "At the last look: the first 1,000 or so validation images, and the entropy of the predicted classes (in nats) "
    "on one training batch as the network sees it. Median over seeds."
)
STEPS = "One training step without the optimiser, the median over looks and seeds."


def crowds(found: list[Looks]) -> str:
    """Which methods are not told edge by edge."""
    names = [looks.method for looks in found if len(looks.edges) > MANY]
    return f" Not listed, because of more than {MANY} edges: {', '.join(names)}." if names else ""


def edges(found: list[Looks]) -> list[dict[str, str]]:
    """One row per method and edge: how loud, and how much of one mind with the labels."""
    rows = []
    for looks in found:
        links = looks.edges if len(looks.edges) <= MANY else []
        for i, link in enumerate(links):
            name = ("edges", link.name)
            labels = looks.labels_of(link) if not is_labels(link) else None
            rows.append(
                {
                    "method": looks.method if i == 0 else "",
                    "edge": arrow(link),
                    "gate weight": _short(looks.median(*name, "weight")),
                    "loss": _short(looks.median(*name, "loss")),
                    "gradient": _short(looks.median(*name, "gradient")),
                    "gradient share %": _percent(looks.median(*name, "share")),
                    "cosine with labels": _cosine(looks, link, labels),
                    "equal at": _short(equal_at(looks, link, labels)),
                }
            )
    return rows


def pairs(found: list[Looks]) -> list[dict[str, str]]:
    """One row per method and pair of networks: how often they agree, who is right, and how sure they are."""
    rows = []
    for looks in found:
        known = looks.pairs if len(looks.pairs) <= MANY else []
        for i, (source, target) in enumerate(known):
            shares = {n: looks.at_the_end("pairs", source, target, n) for n in ("agreement", *COMBINATIONS)}
            rows.append(
                {
                    "method": looks.method if i == 0 else "",
                    "A → B": f"{source} → {target}",
                    "agree %": _percent(shares["agreement"]),
                    "both right %": _percent(shares["both"]),
                    "only A %": _percent(shares["source_only"]),
                    "only B %": _percent(shares["target_only"]),
                    "neither %": _percent(shares["neither"]),
                    "entropy of A": _short(looks.at_the_end("nodes", source, "entropy")),
                    "entropy of B": _short(looks.at_the_end("nodes", target, "entropy")),
                }
            )
    return rows


COMBINATIONS = ("both", "source_only", "target_only", "neither")
"""Who is right, of a sender and a receiver."""


def steps(found: list[Looks]) -> list[dict[str, str]]:
    """One row per method: what a training step is spent on."""
    rows = []
    for looks in found:
        parts = split(looks)
        total = sum(parts.values())
        if total > 0:
            shares = {
                name: f"{100 * value / total:.0f} % · {milliseconds(value)}" if value else MISSING
                for name, value in parts.items()
            }
            rows.append({"method": looks.method, "step": milliseconds(total), **shares})
    return rows


def split(looks: Looks) -> dict[str, float]:
    """Seconds of a step by what they are spent on; frozen nodes are teachers, those that learn are students."""
    frozen = {name for name, node in looks.plan.nodes.items() if node.get("role") == "frozen"}
    nodes = dict.fromkeys(key[2] for look in looks.looks for key in look if key[:2] == ("seconds", "nodes"))
    spent = {name: looks.median("seconds", "nodes", name) or 0.0 for name in nodes}
    return {
        "data": looks.median("seconds", "data") or 0.0,
        "teachers": sum(seconds for name, seconds in spent.items() if name in frozen),
        "students": sum(seconds for name, seconds in spent.items() if name not in frozen),
        "losses": looks.median("seconds", "losses") or 0.0,
        "backward": looks.median("seconds", "backward") or 0.0,
    }


def advice(found: list[Looks]) -> list[str]:
    """One sentence for each transfer whose gradient drowns that of the labels, or is drowned by it; the worst first."""
    told: list[tuple[float, str]] = []
    for looks in found:
        for link in looks.edges:
            labels = looks.labels_of(link) if not is_labels(link) else None
            ratio = against_labels(looks, link, labels)
            weight = equal_at(looks, link, labels)
            if ratio and weight and not 1 / LOUD <= ratio <= LOUD:
                loudness = max(ratio, 1 / ratio)
                told.append((loudness, f"{_who(looks, link)} {_times(ratio)} the labels': {_would(link, weight)}"))
    told.sort(key=lambda pair: -pair[0])
    more = [f"… and {len(told) - TOLD} more."] if len(told) > TOLD else []
    return [sentence for _, sentence in told[:TOLD]] + more


def against_labels(looks: Looks, link: Link, labels: Link | None) -> float | None:
    """How many times longer the gradient of an edge is than that of its labels; the median over looks."""
    return _median([gradient / reference for gradient, reference, _ in _side_by_side(looks, link, labels)])


def equal_at(looks: Looks, link: Link, labels: Link | None) -> float | None:
    """The weight with which an edge would be as loud as its labels; the median over looks."""
    return _median(
        [w * reference / gradient for gradient, reference, w in _side_by_side(looks, link, labels) if gradient]
    )


def teacher(study: Study) -> list[str]:
    """What the teacher makes of the student's own training images."""
    views = dig(study.results, "teacher", "views")
    accuracy, entropy = number(dig(views, "accuracy")), number(dig(views, "entropy"))
    if accuracy is None:
        return []
    images = f" ({count(dig(views, 'images'))} images)" if number(dig(views, "images")) else ""
    words = f"On the student's own training views{images} the teacher is right in {100 * accuracy:.1f} %"
    whole = number(dig(study.results, "teacher", "validation", "accuracy"))
    words += f", on validation images in {100 * whole:.1f} %" if whole is not None else ""
    return [words + (f"; its entropy on the views is {_short(entropy)} nats." if entropy is not None else ".")]


def warnings(study: Study) -> list[str]:
    """What the run warns of: a teacher that knows nothing of what the student sees, say."""
    found = study.results.get("warnings")
    return [f"Warning: {text(line)}" for line in found if line] if isinstance(found, list) else []


def arrow(link: Link) -> str:
    """Ends and loss of an edge, with nodes alone where outputs are compared."""
    return f"{', '.join(link.sources)} → {', '.join(link.targets)}: {link.loss}"


def _side_by_side(looks: Looks, link: Link, labels: Link | None) -> list[tuple[float, float, float]]:
    """Gradient, gradient of the labels and weight, of every look that has all of them."""
    if labels is None:
        return []
    keys = (("edges", link.name, "gradient"), ("edges", labels.name, "gradient"), ("edges", link.name, "weight"))
    found = [tuple(look[key] for key in keys) for look in looks.looks if all(key in look for key in keys)]
    return [(gradient, reference, weight) for gradient, reference, weight in found if reference]


def _cosine(looks: Looks, link: Link, labels: Link | None) -> str:
    if labels is None:
        return MISSING
    ends = (link.name, labels.name)
    found = _median(looks.all("cosines", *ends) + looks.all("cosines", *ends[::-1]))
    return MISSING if found is None else signed(found, 2)


def _who(looks: Looks, link: Link) -> str:
    """The loss with its method, and with its ends where the method has the loss several times."""
    alike = [other for other in looks.edges if other.loss == link.loss]
    name = link.loss if len(alike) == 1 else arrow(link)
    return f"{name}'s gradient" if name == looks.method else f"{looks.method}: {name}'s gradient"


def _times(ratio: float) -> str:
    return f"is {_short(ratio)} times" if ratio > 1 else f"is 1/{_short(1 / ratio)} of"


def _would(link: Link, weight: float) -> str:
    return f"weight {_short(weight)} would make them equal."


def _short(value: float | None) -> str:
    """Two digits or three, whichever a person reads sooner.

    >>> _short(0.0264), _short(34.3), _short(1234.5)
    ('0.026', '34', '1,230')
    """
    if value is None:
        return MISSING
    if abs(value) >= 10:
        return f"{float(f'{value:.3g}'):,.0f}" if abs(value) < 1e7 else f"{value:.1e}"
    return f"{value:.2g}".replace("-", "\u2212", 1)


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}"


def _median(values: list[float]) -> float | None:
    return median(values) if values else None
