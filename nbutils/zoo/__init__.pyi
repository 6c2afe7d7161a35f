from .accuracy import Evaluation as Evaluation, evaluate as evaluate, evaluation_of as evaluation_of
from .entries import (
    SOURCE as SOURCE, Entry as Entry, read_zoo as read_zoo, same_measure as same_measure, same_radius as same_radius,
)
from .sample import (
    Sample as Sample, fitting as fitting, measure_sample as measure_sample, sample_markdown as sample_markdown,
)
from .tables import (
    accuracy_markdown as accuracy_markdown, accuracy_text as accuracy_text,
    architecture_markdown as architecture_markdown, measure_note as measure_note, plain as plain,
    recipes_markdown as recipes_markdown, signed as signed, status as status, title as title, write_csv as write_csv,
)
