import json
import platform

import torch

from mentorch.comparison import environment


def test_it_says_where_a_number_was_made() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] >= 1
    assert len(found["gpus"]) == torch.cuda.device_count()
    assert found["platform"]
    assert found["processor"]


def test_packages_that_are_not_installed_are_left_out_and_the_rest_is_plain() -> None:
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert set(found["versions"]) >= {"mentorch", "torch", "numpy", "lightning-fabric", "scikit-learn"}
    assert all(isinstance(version, str) for version in found["versions"].values())
