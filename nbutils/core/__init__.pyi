from . import foreign_json as foreign_json, settings as settings
from .errors import (
    BoundsError as BoundsError, ExportError as ExportError, ImageError as ImageError, LedgerError as LedgerError,
    NetworkError as NetworkError, NotebookError as NotebookError, ParameterError as ParameterError,
    PropertyError as PropertyError, SelectionError as SelectionError, WorkbenchError as WorkbenchError,
    require as require,
)
from .margins import class_margins as class_margins, rivals as rivals, specification as specification
from .plain_text import PLAIN as PLAIN
from .published_numbers import (
    IMAGES as IMAGES, NETWORKS as NETWORKS, PublishedInstance as PublishedInstance,
    PublishedNetwork as PublishedNetwork, index_in_name as index_in_name, misnamed_index as misnamed_index,
    replay as replay,
)
from .randomness import draw as draw, stream as stream
from .records import (
    STATUSES as STATUSES, Box as Box, ImageSet as ImageSet, Normalization as Normalization, Origin as Origin,
)
from .results import (
    AttackTrace as AttackTrace, Instance as Instance, LayerBounds as LayerBounds, MarginBounds as MarginBounds,
    Margins as Margins, Property as Property, Verdict as Verdict,
)
from .settings import (
    METHODS as METHODS, PUBLISHED_EPS as PUBLISHED_EPS, AttackConfig as AttackConfig, BoundsConfig as BoundsConfig,
    SelectionConfig as SelectionConfig, Settings as Settings, check_eps as check_eps, check_method as check_method,
    check_methods as check_methods, check_number as check_number, check_whole as check_whole,
    eps_from_255 as eps_from_255, parse_eps as parse_eps, root as root,
)
from .versions import package_versions as package_versions
from .writing import check_writable as check_writable, write_atomically as write_atomically
