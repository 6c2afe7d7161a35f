from .display import LiveCurves as LiveCurves, png as png, show as show
from .runner import (
    find_notebook as find_notebook, notebook_parameters as notebook_parameters, parse_parameters as parse_parameters,
    run_notebook as run_notebook,
)
from .sliders import slide as slide
