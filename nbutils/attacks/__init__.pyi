from .pgd import run_attack as run_attack
from .strong import StrongConfig as StrongConfig, strong_attack as strong_attack
