"""Attacks on the margins of images in boxes: PGD, and a stronger second attack."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
