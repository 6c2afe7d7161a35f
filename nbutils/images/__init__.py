"""Image sources: data sets, archives, folders, the images inside property files. `load_images` is the door."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
