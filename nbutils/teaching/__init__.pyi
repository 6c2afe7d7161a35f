from .branching import (
    Part as Part, branch_and_bound as branch_and_bound, patterns as patterns,
    smallest_margin_in as smallest_margin_in,
)
from .exercises import EXERCISES as EXERCISES, check as check
from .handout import write_handout as write_handout
from .lipschitz import lipschitz_bound as lipschitz_bound
from .pictures import draw_boxes as draw_boxes, draw_plane as draw_plane, draw_relu as draw_relu
from .search_pictures import draw_gap as draw_gap, draw_parts as draw_parts, draw_path as draw_path
from .small_network import (
    NEEDLE as NEEDLE, TOY as TOY, SmallNetwork as SmallNetwork, box_around as box_around,
)
from .toy_training import (
    WAYS as WAYS, Scores as Scores, scores as scores, train_small as train_small, two_moons as two_moons,
)
