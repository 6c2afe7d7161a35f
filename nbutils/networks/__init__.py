"""Any ONNX classifier as a network: opening, cards, the normalisation it expects, the five architectures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
