from .exercises import EXERCISES as EXERCISES, check as check
from .handout import write_handout as write_handout
from .pictures import draw_boxes as draw_boxes, draw_plane as draw_plane, draw_relu as draw_relu
from .small_network import TOY as TOY, SmallNetwork as SmallNetwork, box_around as box_around
