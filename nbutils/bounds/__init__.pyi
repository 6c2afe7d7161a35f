from . import lirpa as lirpa
from .method_check import MethodCheck as MethodCheck
from .methods import margin_bounds as margin_bounds, checked as checked, held_methods as held_methods, method_checks as method_checks
