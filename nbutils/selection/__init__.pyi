from .after_alpha import add_alpha_bounds as add_alpha_bounds, with_known_bounds as with_known_bounds
from .choosing import (
    check_count as check_count, choose as choose, choose_indices as choose_indices, instances_of as instances_of,
)
from .cluster import dask_engine as dask_engine
from .deciding import decide as decide, usable_methods as usable_methods
from .funnel import (
    Engine as Engine, check_fit as check_fit, count_statuses as count_statuses, here as here, run_funnel as run_funnel,
)
from .image_archive import keep_images as keep_images, selected_images as selected_images
from .ledger import Ledger as Ledger, run_key as run_key
from .second_stage import run_second_stage as run_second_stage, second_key as second_key, second_path as second_path
from .selection_reading import read_selection as read_selection
from .selection_writing import (
    KEPT as KEPT, Selection as Selection, make_selection as make_selection, put_selection as put_selection,
    write_selected as write_selected,
)
