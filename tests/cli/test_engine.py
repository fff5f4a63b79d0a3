from functools import partial

from mentorch.cli._engine import engine
from mentorch.transferability import here, in_processes, on_ray


def test_one_worker_of_this_machine_is_this_process_and_several_are_processes():
    assert engine("local", 1) is here
    for name, workers, function in (("local", 3, in_processes), ("ray", 1, on_ray)):
        found = engine(name, workers)
        assert isinstance(found, partial)
        assert (found.func, found.keywords) == (function, {"workers": workers})
