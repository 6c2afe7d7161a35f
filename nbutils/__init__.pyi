__version__: str

from . import findings as findings, plots as plots
from .attacks import run_attack as run_attack
from .benchmark import export_benchmark as export_benchmark
from .bounds import margin_bounds as margin_bounds
from .core import AttackConfig as AttackConfig, BoundsConfig as BoundsConfig, Box as Box
from .core import SelectionConfig as SelectionConfig, class_margins as class_margins
from .explore import Session as Session
from .images import load_images as load_images
from .networks import fit_images as fit_images, open_network as open_network
from .notebook import show as show
from .selection import run_funnel as run_funnel
