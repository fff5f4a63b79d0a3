"""Each loss beside the same loss of RepDistiller, mdistiller and torchdistill.

    .venv-peers/bin/python benchmarks/peers_losses.py --repdistiller FOLDER --mdistiller FOLDER
    python benchmarks/peers_losses.py --batch-size 4 --repeats 1 --losses kd pkt   # a short form

The same tensors for all, with the shapes of resnet32x4 -> resnet8x4 on CIFAR-100; what has layers has the same ones
with the same weights. CPU milliseconds of the value and its gradient in one thread, in turns: the median of the rounds,
and the median (lowest ... highest) of how many times as long the public code takes. *Memory* is what lives at once at
the peak of that, beyond the tensors given. Losses differ by constant factors, so what is compared of the gradients is
their direction: *angle* is how far it is from ours, in radians.
"""

import argparse
import copy
import functools
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from unittest import mock

import torch
from _machine import keep_memory, machine
from _peers import AbsentError, add_folders, import_torchvision, imported
from _steps import spread
from torch import Tensor, nn

from mentorch import losses

CHANNELS, CLASSES, T = (64, 128, 256), 100, 4.0
Loss = Callable[["Given"], Tensor]


@dataclass
class Given:
    """What networks would give: of the student (``s``) and of the teacher (``t``)."""

    maps_s: list[Tensor]
    maps_t: list[Tensor]
    embedding_s: Tensor
    embedding_t: Tensor
    logits_s: Tensor
    logits_t: Tensor
    labels: Tensor
    layers: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def of_student(self) -> list[Tensor]:
        return [*self.maps_s, self.embedding_s, self.logits_s]


def made_up(batch_size: int) -> Given:
    """Maps after a ReLU, embeddings and logits that are related as those of a student and its teacher are."""
    torch.manual_seed(0)

    def pair(*shape: int, relu: bool = True) -> tuple[Tensor, Tensor]:
        common = torch.randn(batch_size, *shape)
        s, t = (common + 0.5 * torch.randn(batch_size, *shape) for _ in range(2))
        return (s.relu() if relu else s).requires_grad_(), t.relu() if relu else t

    maps = [pair(c, 32 >> i, 32 >> i) for i, c in enumerate(CHANNELS)]
    labels = torch.randint(0, CLASSES, (batch_size,))
    given = Given(*map(list, zip(*maps, strict=True)), *pair(CHANNELS[-1]), *pair(CLASSES, relu=False), labels)
    s, t = given.maps_s, given.maps_t
    for i in range(len(CHANNELS)):
        given.layers[f"vid{i}"] = losses.VID().build(s[i], t[i])
        given.layers[f"ofd{i}"] = losses.OFD(margins=torch.full((CHANNELS[i],), -0.1)).build(s[i], t[i])
    given.layers["correlation"] = losses.Correlation(variant="released").build(given.embedding_s, given.embedding_t)
    factor = losses.Factor(reconstruction=0)
    factor.pretrain([t[-1]], optimizer=functools.partial(torch.optim.SGD, lr=0.0))
    given.layers["factor"] = factor.build(s[-1], t[-1])
    given.layers["review"] = losses.Review().build((*s, given.embedding_s), *t, given.embedding_t)
    return given


def total(value: Tensor | dict[str, Tensor]) -> Tensor:
    return sum(part.mean() for part in value.values()) if isinstance(value, dict) else value.mean()


def of_maps(loss: Callable[..., Tensor]) -> Loss:
    """The sum over stages."""
    return lambda g: sum(loss(s, t).mean() for s, t in zip(g.maps_s, g.maps_t, strict=True))


def of_last_map(loss: Callable[..., Tensor]) -> Loss:
    return lambda g: loss(g.maps_s[-1], g.maps_t[-1]).mean()


def of_embedding(loss: Callable[..., Tensor | dict[str, Tensor]]) -> Loss:
    return lambda g: total(loss(g.embedding_s, g.embedding_t))


def of_logits(loss: Callable[..., Tensor | dict[str, Tensor]]) -> Loss:
    return lambda g: total(loss(g.logits_s, g.logits_t))


def with_layers(name: str) -> Loss:
    return lambda g: sum(g.layers[f"{name}{i}"](g.maps_s[i], g.maps_t[i]).mean() for i in range(len(CHANNELS)))


OURS: dict[str, Loss] = {
    "kd": of_logits(functools.partial(losses.kd, temperature=T)),
    "dkd": lambda g: losses.dkd(g.logits_s, g.logits_t, g.labels, temperature=T).mean(),
    "dist": of_logits(functools.partial(losses.dist, beta=1.0, gamma=1.0, temperature=1.0)),
    "standardized(kd)": of_logits(losses.standardized(functools.partial(losses.kd, temperature=T))),
    "hint": of_last_map(losses.hint),
    "attention": of_maps(losses.attention),
    "similarity": of_last_map(losses.similarity),
    "nst": of_maps(losses.nst),
    "fsp": lambda g: losses.fsp(g.maps_s, *g.maps_t).mean(),
    "fsp, max": lambda g: losses.fsp(g.maps_s, *g.maps_t, pooling="max").mean(),
    "svd": lambda g: losses.svd(g.maps_s, *g.maps_t).mean(),
    "svd, width": lambda g: losses.svd(g.maps_s, *g.maps_t, vectors="width").mean(),
    "ab": of_maps(losses.ab),
    "vid": with_layers("vid"),
    "ofd": with_layers("ofd"),
    "factor": lambda g: g.layers["factor"](g.maps_s[-1], g.maps_t[-1]).mean(),
    "review": lambda g: g.layers["review"]((*g.maps_s, g.embedding_s), *g.maps_t, g.embedding_t).mean(),
    "pkt": of_embedding(functools.partial(losses.pkt, variant="released")),
    "rkd": of_embedding(losses.rkd),
    "correlation": lambda g: g.layers["correlation"](g.embedding_s, g.embedding_t),
}


def by_repdistiller(folder: str | None, given: Given) -> dict[str, Loss]:
    """Of its ``distiller_zoo``."""
    with imported(folder, "repdistiller"):
        import distiller_zoo as zoo
    shapes = [[0, c] for c in CHANNELS]

    def of_stages(loss: nn.Module) -> Loss:
        return lambda g: sum(loss(g.maps_s, g.maps_t))

    vids = given.layers["vid of RepDistiller"] = nn.ModuleList(zoo.VIDLoss(c, c, c) for c in CHANNELS)
    for i, vid in enumerate(vids):
        vid.regressor = given.layers[f"vid{i}"].mean

    def correlation(g: Given) -> Tensor:
        ours = g.layers["correlation"]
        return zoo.Correlation()(ours.student(g.embedding_s), ours.teacher(g.embedding_t))

    def factor(g: Given) -> Tensor:
        ours = g.layers["factor"]
        with torch.no_grad():
            theirs = ours.paraphraser["encoder"](g.maps_t[-1])
        return zoo.FactorTransfer()(ours.translator(g.maps_s[-1]), theirs)

    return {
        "kd": of_logits(zoo.DistillKL(T)),
        "hint": of_last_map(zoo.HintLoss()),
        "attention": of_stages(zoo.Attention()),
        "similarity": lambda g: sum(zoo.Similarity()(g.maps_s[-1:], g.maps_t[-1:])),
        "nst": of_stages(zoo.NSTLoss()),
        "fsp": of_stages(zoo.FSP(shapes, shapes)),
        "svd": of_stages(zoo.KDSVD()),
        "ab": lambda g: sum(map(zoo.ABLoss(len(CHANNELS)).criterion_alternative_l2, g.maps_s, g.maps_t)),
        "vid": lambda g: sum(vid(*pair) for vid, *pair in zip(vids, g.maps_s, g.maps_t, strict=True)),
        "factor": factor,
        "pkt": of_embedding(zoo.PKT()),
        "rkd": of_embedding(zoo.RKDLoss()),
        "correlation": correlation,
    }


def by_mdistiller(folder: str | None, given: Given) -> dict[str, Loss]:
    """The functions of its distillers."""
    with imported(folder, "mdistiller", tensorboardX=mock.Mock()):
        from mdistiller.distillers.AT import at_loss
        from mdistiller.distillers.DKD import dkd_loss
        from mdistiller.distillers.KD import kd_loss
        from mdistiller.distillers.KDSVD import kdsvd_loss
        from mdistiller.distillers.NST import nst_loss
        from mdistiller.distillers.OFD import feat_loss
        from mdistiller.distillers.PKT import pkt_loss
        from mdistiller.distillers.ReviewKD import ABF, hcl_loss
        from mdistiller.distillers.RKD import rkd_loss
        from mdistiller.distillers.SP import sp_loss
        from mdistiller.distillers.VID import vid_loss

    def vid(g: Given) -> Tensor:
        ours = [g.layers[f"vid{i}"] for i in range(len(CHANNELS))]
        return sum(vid_loss(o.mean, o.rho, *pair) for o, *pair in zip(ours, g.maps_s, g.maps_t, strict=True))

    def ofd(g: Given) -> Tensor:
        ours = [g.layers[f"ofd{i}"] for i in range(len(CHANNELS))]
        pairs = zip(ours, g.maps_s, g.maps_t, strict=True)
        return sum(feat_loss(o.adapter(s), t, o.margins.view(1, -1, 1, 1)) for o, s, t in pairs)

    levels = given.layers["review"].levels
    fusers = given.layers["review of mdistiller"] = nn.ModuleList(_as_theirs(level, ABF) for level in levels)

    def review(g: Given) -> Tensor:
        x, sizes = [*g.maps_s, g.embedding_s[:, :, None, None]], [32, 16, 8, 1]
        results, residual = [], None
        for level, features, size, above in reversed(list(zip(fusers, x, sizes, [*sizes[1:], None], strict=True))):
            output, residual = level(features, residual, size, size) if above else level(features, out_shape=size)
            results.insert(0, output)
        return hcl_loss(results, [*g.maps_t, g.embedding_t[:, :, None, None]])

    return {
        "kd": of_logits(lambda s, t: kd_loss(s, t, T)),
        "dkd": lambda g: dkd_loss(g.logits_s, g.logits_t, g.labels, 1.0, 8.0, T),
        "attention": lambda g: at_loss(g.maps_s, g.maps_t, 2),
        "similarity": lambda g: sp_loss(g.maps_s[-1:], g.maps_t[-1:]),
        "nst": lambda g: nst_loss(g.maps_s, g.maps_t),
        "svd, width": lambda g: kdsvd_loss(g.maps_s, g.maps_t, 1),
        "vid": vid,
        "ofd": ofd,
        "review": review,
        "pkt": of_embedding(pkt_loss),
        "rkd": of_embedding(rkd_loss),
    }


def _as_theirs(ours: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A level of ours with the same weights."""
    enter, leave = ours.enter[0], ours.leave[0]
    theirs = kind(enter.in_channels, enter.out_channels, leave.out_channels, ours.shares is not None)
    theirs.conv1, theirs.conv2 = copy.deepcopy(ours.enter), copy.deepcopy(ours.leave)
    if ours.shares is not None:
        theirs.att_conv[0].load_state_dict(ours.shares.state_dict())
    return theirs


def by_torchdistill(*_: object) -> dict[str, Loss]:
    """Its losses of middle level."""
    try:
        import_torchvision()
        from torchdistill.losses import mid_level as level
    except ModuleNotFoundError as error:
        raise AbsentError("torchdistill is not installed: make .venv-peers/installed") from error
    places = {f"{who}_module_{what}": value for who in ("student", "teacher") for what, value in _PLACE.items()}
    paths = {"student_output_path": "x", "teacher_output_path": "x"}
    stages = [{"io": "output", "path": str(i)} for i in range(len(CHANNELS))]
    pairs = {str(i): {"student": stage, "teacher": stage} for i, stage in enumerate(stages)}
    flows = {
        str(i): {f"{who}_{which}": x for who in ("student", "teacher") for which, x in (("first", a), ("second", b))}
        for i, (a, b) in enumerate(pairwise(stages))
    }

    def on(loss: nn.Module, name: str) -> Loss:
        return lambda g: loss(*(_read(g, side, name) for side in ("s", "t")))

    return {
        "kd": on(level.KDLoss(**places, temperature=T, alpha=0.0), "logits"),
        "dist": on(level.DISTLoss(**places), "logits"),
        "standardized(kd)": on(level.LogitStdKDLoss(**places, temperature=T, alpha=0.0), "logits"),
        "attention": on(level.ATLoss(pairs), "maps"),
        "similarity": on(level.SPKDLoss(**paths, reduction="batchmean"), "last"),
        "fsp, max": on(level.FSPLoss(flows), "maps"),
        "ab": on(level.AltActTransferLoss(pairs, 1.0, "mean"), "maps"),
        "pkt": on(level.PKTLoss(**places), "embedding"),
        "rkd": on(level.RKDLoss(**paths, dist_factor=25.0, angle_factor=50.0, reduction="mean"), "embedding"),
    }


_PLACE = {"path": "x", "io": "output"}


def _read(g: Given, side: str, name: str) -> dict[str, dict[str, Tensor]]:
    maps = getattr(g, f"maps_{side}")
    if name == "maps":
        return {str(i): {"output": x} for i, x in enumerate(maps)}
    return {"x": {"output": maps[-1] if name == "last" else getattr(g, f"{name}_{side}")}}


PEERS: dict[str, Callable[[str | None, Given], dict[str, Loss]]] = {
    "RepDistiller": by_repdistiller,
    "mdistiller": by_mdistiller,
    "torchdistill": by_torchdistill,
}


def gradient(loss: Loss, given: Given) -> Tensor:
    """With respect to everything of the student, one vector."""
    found = torch.autograd.grad(loss(given), given.of_student, allow_unused=True)
    return torch.cat([x.flatten().double() for x in found if x is not None])


def learn(loss: Loss, given: Given) -> None:
    """Value and gradient, also of layers, as a step of training has them."""
    clear(given)
    loss(given).backward()


def clear(given: Given) -> None:
    for x in (*given.of_student, *(p for module in given.layers.values() for p in module.parameters())):
        x.grad = None


def seconds(loss: Loss, given: Given, calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        learn(loss, given)
    return (time.process_time() - began) / calls


def peak(loss: Loss, given: Given) -> float:
    """MiB of tensors that live at once, beyond those before."""
    learn(loss, given)
    clear(given)  # what was there before is not followed
    with torch.profiler.profile(profile_memory=True) as profile:
        learn(loss, given)
    living = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            living += event.nbytes()
            most = max(most, living)
    return most / 2**20


def angle(a: Tensor, b: Tensor) -> float:
    a, b = a / a.norm(), b / b.norm()
    return 2 * torch.asin(((a - b).norm() / 2).clamp(max=1)).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--losses", nargs="+", default=list(OURS), choices=list(OURS), metavar="NAME")
    add_folders(parser, "repdistiller", "mdistiller")
    asked = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    given, peers = made_up(asked.batch_size), {}
    for name, code in PEERS.items():
        try:
            peers[name] = code(vars(asked).get(name.lower()), given)
        except AbsentError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    print(f"{machine()}\n")
    print("| loss | code | CPU ms | times as long as ours (min ... max) | memory, MiB | angle |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in asked.losses:
        forms = {"mentorch": OURS[name], **{peer: found[name] for peer, found in peers.items() if name in found}}
        if len(forms) == 1 and peers:
            continue
        with warnings.catch_warnings(action="ignore"):
            once = {form: seconds(loss, given, 1) for form, loss in forms.items()}
            calls = max(1, min(200, int(0.1 / min(once.values()))))
            rounds = [{form: seconds(loss, given, calls) for form, loss in forms.items()} for _ in range(asked.repeats)]
            ours = [each["mentorch"] for each in rounds]
            for form, loss in forms.items():
                times = [each[form] for each in rounds]
                off = f"{angle(gradient(loss, given), gradient(OURS[name], given)):.0e}" if form != "mentorch" else ""
                cells = (
                    f"`{name}`",
                    form,
                    f"{statistics.median(times) * 1e3:.2f}",
                    spread(times, ours) if form != "mentorch" else "",
                    f"{peak(loss, given):,.1f}",
                    off,
                )
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
