"""Adversarial and certified training of the networks in `networks.architectures`, and their way into an ONNX file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
