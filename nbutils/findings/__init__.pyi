from . import networks as networks, robustness as robustness, training as training
from .training import of_training as of_training
