from .boxes import (
    BoxesView as BoxesView, FusionView as FusionView, boxes_view as boxes_view, draw_box_losses as draw_box_losses,
    draw_widening as draw_widening, figure_boxes as figure_boxes, figure_fusion as figure_fusion,
    fusion_view as fusion_view,
)
from .card import CardView as CardView, card_view as card_view, figure_card as figure_card
from .change import (
    ChangeView as ChangeView, change_view as change_view, draw_change as draw_change,
    draw_unstable_change as draw_unstable_change, figure_change as figure_change,
)
from .counts import counts_view as counts_view, draw_counts as draw_counts
from .fed import FedView as FedView, fed_view as fed_view, figure_fed as figure_fed
from .funnel import (
    FunnelView as FunnelView, draw_funnel as draw_funnel, figure_funnel as figure_funnel, funnel_view as funnel_view,
)
from .hardness import HardnessView as HardnessView, draw_hardness as draw_hardness, hardness_view as hardness_view
from .images import GridView as GridView, figure_grid as figure_grid, grid_view as grid_view
from .ladder import draw_ladder as draw_ladder, draw_margins as draw_margins
from .layers import (
    LayersView as LayersView, draw_unstable as draw_unstable, draw_widths as draw_widths,
    figure_layers as figure_layers, layers_view as layers_view,
)
from .pools import PoolsView as PoolsView, draw_pools as draw_pools, pools_view as pools_view
from .radii import RadiiView as RadiiView, draw_radii as draw_radii, radii_view as radii_view
from .radius import RadiusView as RadiusView, draw_radius as draw_radius, radius_view as radius_view
from .rungs import LadderView as LadderView, ladder_view as ladder_view
from .style import (
    METHOD as METHOD, STATUS as STATUS, compact as compact, describe as describe, new_figure as new_figure,
)
from .training import CurvesView as CurvesView, curves_view as curves_view, figure_training as figure_training
from .trajectories import (
    SliceView as SliceView, TrajectoryView as TrajectoryView, draw_slice as draw_slice,
    draw_trajectories as draw_trajectories, slice_view as slice_view, trajectory_view as trajectory_view,
)
from .zoo import ZooView as ZooView, draw_zoo as draw_zoo, zoo_view as zoo_view
