"""Pure draw functions over records. `draw_*` fill and return Axes, `figure_*` compose and return a Figure.

Every picture is resolved first (`*_view`: numbers and texts, no drawing), then drawn; `describe` gives its alt text.
Nothing here computes an attack or a bound, shows a window or writes a file.
"""

from .boxes import (
    BoxesView,
    FusionView,
    boxes_view,
    draw_box_losses,
    draw_widening,
    figure_boxes,
    figure_fusion,
    fusion_view,
)
from .card import CardView, card_view, figure_card
from .change import ChangeView, change_view, draw_change, draw_unstable_change, figure_change
from .counts import counts_view, draw_counts
from .fed import FedView, fed_view, figure_fed
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
from .training import CurvesView, curves_view, figure_training
from .trajectories import SliceView, TrajectoryView, draw_slice, draw_trajectories, slice_view, trajectory_view
from .zoo import ZooView, draw_zoo, zoo_view

__all__ = [
    "METHOD",
    "STATUS",
    "BoxesView",
    "CardView",
    "ChangeView",
    "CurvesView",
    "FedView",
    "FunnelView",
    "FusionView",
    "GridView",
    "HardnessView",
    "LadderView",
    "LayersView",
    "PoolsView",
    "RadiiView",
    "RadiusView",
    "SliceView",
    "TrajectoryView",
    "ZooView", "boxes_view", "card_view", "change_view", "counts_view", "curves_view", "describe", "draw_box_losses",
    "draw_change", "draw_counts", "draw_funnel", "draw_hardness", "draw_ladder", "draw_margins", "draw_pools",
    "draw_radii", "draw_radius", "draw_slice", "draw_trajectories", "draw_unstable", "draw_unstable_change",
    "draw_widening", "draw_widths", "draw_zoo", "fed_view", "figure_boxes", "figure_card", "figure_change",
    "figure_fed", "figure_funnel", "figure_fusion", "figure_grid", "figure_layers", "figure_training", "funnel_view",
    "fusion_view", "grid_view", "hardness_view", "ladder_view", "layers_view", "new_figure", "pools_view", "radii_view",
    "radius_view", "slice_view", "trajectory_view", "zoo_view",
]  # fmt: skip
