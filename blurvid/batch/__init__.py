"""Many photos: which there are, what goes where, and all of it done, none stopping the rest."""

from blurvid.batch.contact import write_contact
from blurvid.batch.naming import FIELDS
from blurvid.batch.photo import Outcome
from blurvid.batch.plan import Job, plan, share
from blurvid.batch.run import run, writers_here
from blurvid.batch.sources import STDIN, read_list
from blurvid.batch.spread import run_on_ray

__all__ = [
    "FIELDS",
    "STDIN",
    "Job",
    "Outcome",
    "plan",
    "read_list",
    "run",
    "run_on_ray",
    "share",
    "write_contact",
    "writers_here",
]
