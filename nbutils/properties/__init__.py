"""A property and its text: VNN-LIB 1.0 and 2.0, counterexamples. Only here the sign of a margin flips."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
