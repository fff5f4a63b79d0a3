"""Task branching: single-task teachers of dense prediction into one student that branches."""

from mentorch.methods._branch._branch import BranchStage as BranchStage
from mentorch.methods._branch._branch import branch as branch
