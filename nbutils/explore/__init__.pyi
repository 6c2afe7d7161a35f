from .session import Session as Session, pick_rows as pick_rows
from .widgets import chooser as chooser, explorer as explorer
