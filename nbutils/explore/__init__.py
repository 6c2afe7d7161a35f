"""What is being looked at, free of widgets, and the widgets that show it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
