"""What a notebook asks of single images and files: radius curves, planes through a box, property files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
