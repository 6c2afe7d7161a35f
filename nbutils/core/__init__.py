"""The vocabulary: errors, settings, records, margins, random streams. Imports no other package."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
