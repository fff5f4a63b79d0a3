"""Networks that teach networks.

The list of what users import; nothing else. Each is loaded when it is first used, and needs torch alone.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mentorch import data as data
    from mentorch import gates as gates
    from mentorch import losses as losses
    from mentorch import methods as methods
    from mentorch import metrics as metrics
    from mentorch import networks as networks
    from mentorch import structure as structure
    from mentorch import training as training
    from mentorch import transferability as transferability
    from mentorch._edge import Edge as Edge
    from mentorch._errors import MentorchError as MentorchError
    from mentorch._errors import RunError as RunError
    from mentorch._errors import UsageError as UsageError
    from mentorch._freeze import freeze as freeze
    from mentorch._graph import Graph as Graph
    from mentorch.training import History as History
    from mentorch.training import Monitor as Monitor
    from mentorch.training import On as On
    from mentorch.training import evaluate as evaluate
    from mentorch.training import fit as fit
else:
    from mentorch._lazy import lazily as _lazily

    __getattr__, __dir__ = _lazily(__name__, __file__)
