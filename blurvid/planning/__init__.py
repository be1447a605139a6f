"""Which photos there are, what goes where, and what speaks against it: known before any work.

No module here loads torch.
"""

from blurvid.planning.gate import Gate, Outcome, identities
from blurvid.planning.plan import FIELDS, Job, folder_of, plan, share
from blurvid.planning.sources import STDIN, read_list

__all__ = [
    "FIELDS",
    "STDIN",
    "Gate",
    "Job",
    "Outcome",
    "folder_of",
    "identities",
    "plan",
    "read_list",
    "share",
]
