"""Pure draw functions over records. `draw_*` fill and return Axes, `figure_*` compose and return a Figure.

Every picture is resolved first (`*_view`: numbers and texts, no drawing), then drawn; `describe` gives its alt text.
Nothing here computes an attack or a bound, shows a window or writes a file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
