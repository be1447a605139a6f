"""Which photos there are, what goes where, and what speaks against it: known before any work.

No module here loads torch.
"""

from blurvid.planning.gate import Gate, Outcome, alone, identities, named
from blurvid.planning.names import FIELDS
from blurvid.planning.plan import Job, folder_of, plan
from blurvid.planning.trees import STDIN, read_list

__all__ = [
    "FIELDS",
    "STDIN",
    "Gate",
    "Job",
    "Outcome",
    "alone",
    "folder_of",
    "identities",
    "named",
    "plan",
    "read_list",
]
