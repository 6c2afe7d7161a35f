"""Pure draw functions over records. `draw_*` fill and return Axes, `figure_*` compose and return a Figure.

Every picture is resolved first (`*_view`: numbers and texts, no drawing), then drawn; `describe` gives its alt text.
Nothing here computes an attack or a bound, shows a window or writes a file.
"""

from .card import CardView, card_view, figure_card
from .counts import counts_view, draw_counts
from .funnel import FunnelView, draw_funnel, figure_funnel, funnel_view
from .hardness import HardnessView, draw_hardness, hardness_view
from .images import GridView, figure_grid, grid_view
from .ladder import draw_ladder, draw_margins
from .layers import LayersView, draw_unstable, draw_widths, figure_layers, layers_view
from .pools import PoolsView, draw_pools, pools_view
from .radii import RadiiView, draw_radii, radii_view
from .radius import RadiusView, draw_radius, radius_view
from .rungs import LadderView, ladder_view
from .style import METHOD, STATUS, describe, new_figure
from .trajectories import SliceView, TrajectoryView, draw_slice, draw_trajectories, slice_view, trajectory_view
from .zoo import ZooView, draw_zoo, zoo_view

__all__ = [
    "METHOD",
    "STATUS",
    "CardView",
    "FunnelView",
    "GridView",
    "HardnessView",
    "LadderView",
    "LayersView",
    "PoolsView",
    "RadiiView",
    "RadiusView",
    "SliceView",
    "TrajectoryView",
    "ZooView",
    "card_view",
    "counts_view",
    "describe",
    "draw_counts", "draw_funnel", "draw_hardness", "draw_ladder", "draw_margins", "draw_pools", "draw_radii",
    "draw_radius", "draw_slice", "draw_trajectories", "draw_unstable", "draw_widths", "draw_zoo", "figure_card",
    "figure_funnel", "figure_grid", "figure_layers", "funnel_view", "grid_view", "hardness_view", "ladder_view",
    "layers_view", "new_figure", "pools_view", "radii_view", "radius_view", "slice_view", "trajectory_view", "zoo_view",
]  # fmt: skip
