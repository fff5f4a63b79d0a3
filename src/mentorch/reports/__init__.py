"""Reports: a page, figures and tables made from the files of run folders, never from objects of a training."""

from mentorch.reports._atlas_page import write_atlas_page as write_atlas_page
from mentorch.reports._atlas_picture import write_atlas_picture as write_atlas_picture
from mentorch.reports._dense_table import dense_table as dense_table
from mentorch.reports._draw import graph_text as graph_text
from mentorch.reports._ranking import ranking_sentence as ranking_sentence
from mentorch.reports._ranking import ranking_table as ranking_table
from mentorch.reports._table import table as table
from mentorch.reports._tasks import tasks_table as tasks_table
from mentorch.reports._words import sentence as sentence
from mentorch.reports._write import write as write
