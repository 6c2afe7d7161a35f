from .desk import Desk as Desk
from .jobs import Cancelled as Cancelled, Job as Job, Jobs as Jobs
from .panel import Panel as Panel
from .picture import Picture as Picture
from .session import Session as Session, pick_rows as pick_rows
