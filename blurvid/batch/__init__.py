"""Many photos: which there are, what goes where, and all of it done, none stopping the rest."""

from blurvid.batch.jobs import STDIN, Job, Made, Outcome
from blurvid.batch.naming import FIELDS
from blurvid.batch.plan import plan, plan_single, share
from blurvid.batch.run import run, writers_here
from blurvid.batch.sources import read_list
from blurvid.batch.spread import Opening, Told, run_on_ray
from blurvid.batch.workers import Worker, Workers

__all__ = [
    "FIELDS",
    "STDIN",
    "Job",
    "Made",
    "Opening",
    "Outcome",
    "Told",
    "Worker",
    "Workers",
    "plan",
    "plan_single",
    "read_list",
    "run",
    "run_on_ray",
    "share",
    "writers_here",
]
