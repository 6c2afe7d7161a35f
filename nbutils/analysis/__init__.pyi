from .asked import Asked as Asked, ask as ask
from .curves import RadiusCurve as RadiusCurve, radius_curve as radius_curve
from .plane import Slice as Slice, box_slice as box_slice
from .property_file import (
    find_network as find_network, hand_in as hand_in, image_inside as image_inside,
    normalization_from as normalization_from, open_property as open_property,
)
