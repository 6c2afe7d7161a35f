"""Lower bounds on margins: IBP, CROWN-IBP, CROWN, alpha-CROWN. The only door to auto_LiRPA."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
