"""Comparisons with other libraries run where those are installed; elsewhere they skip."""

import contextlib
import importlib.util

import torch

if importlib.util.find_spec("torchvision"):
    try:
        import torchvision
    except RuntimeError:
        # a torchvision built for another torch brings no compiled operators, and fails on their missing schemas
        _operators = torch.library.Library("torchvision", "FRAGMENT")
        for _name in ("nms", "qnms"):
            _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        with contextlib.suppress(RuntimeError):
            import torchvision  # noqa: F401
