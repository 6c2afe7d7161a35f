from . import lirpa as lirpa
from .method_check import MethodCheck as MethodCheck
from .methods import (
    checked as checked, held_methods as held_methods, margin_bounds as margin_bounds, method_checks as method_checks,
)
