"""Small exact measurements. Those of a sample return ``[N]``; the rest need the whole split and say so."""

from mentorch.metrics._agreement import agreement as agreement
from mentorch.metrics._agreement import divergence as divergence
from mentorch.metrics._calibration import calibration_error as calibration_error
from mentorch.metrics._classification import accuracy as accuracy
from mentorch.metrics._classification import cross_entropy as cross_entropy
from mentorch.metrics._classification import mean_squared_error as mean_squared_error
from mentorch.metrics._classification import top_k as top_k
from mentorch.metrics._depth import DepthScores as DepthScores
from mentorch.metrics._depth import depth as depth
from mentorch.metrics._knn import Neighbours as Neighbours
from mentorch.metrics._knn import knn as knn
from mentorch.metrics._normals import NormalScores as NormalScores
from mentorch.metrics._normals import normals as normals
from mentorch.metrics._retrieval import Retrieval as Retrieval
from mentorch.metrics._retrieval import retrieval as retrieval
from mentorch.metrics._segmentation import SegmentationScores as SegmentationScores
from mentorch.metrics._segmentation import segmentation as segmentation
from mentorch.metrics._streaming import Streaming as Streaming
