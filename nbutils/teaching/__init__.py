"""What the lessons need: a network small enough to draw, pictures of the plane, exercises that are really checked."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
