"""The map of a zoo."""

from mentorch.transferability._atlas._atlas import Atlas as Atlas
from mentorch.transferability._atlas._atlas import atlas as atlas
from mentorch.transferability._atlas._atlas import chart as chart
from mentorch.transferability._atlas._files import check_parquet as check_parquet
from mentorch.transferability._atlas._files import write_atlas as write_atlas
from mentorch.transferability._atlas._fill import Tell as Tell
from mentorch.transferability._atlas._fill import fill as fill
from mentorch.transferability._atlas._probes import probes as probes
from mentorch.transferability._atlas._task import Task as Task
