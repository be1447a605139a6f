"""Many photos: all of what `planning.plan` found done, none stopping the rest."""

from blurvid.batch.contact import write_contact
from blurvid.batch.run import run
from blurvid.batch.spread import run_on_ray
