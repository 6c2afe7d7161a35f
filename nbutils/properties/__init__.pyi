from .counterexamples import (
    Replay as Replay, competition_reads as competition_reads, parse_counterexample as parse_counterexample,
    read_counterexample as read_counterexample, replay as replay, write_counterexample as write_counterexample,
)
from .image_levels import recover_levels as recover_levels
from .making import make_property as make_property
from .s_expressions import read_file as read_file
from .vnnlib_read import read_property as read_property, read_text as read_text
from .vnnlib_write import VERSIONS as VERSIONS, decimal as decimal, gzip_bytes as gzip_bytes, write_text as write_text
