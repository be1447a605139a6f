"""Which photos there are, what goes where, and what speaks against it: known before any work.

No module here loads torch.
"""

from blurvid.planning.jobs import Gate, Job, Outcome, alone, folder_of, identities, named
from blurvid.planning.plan import plan
from blurvid.planning.trees import read_list
