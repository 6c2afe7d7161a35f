"""The filter over a test set: funnel, ledger, several processes, second stage, selection files, the choice."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
