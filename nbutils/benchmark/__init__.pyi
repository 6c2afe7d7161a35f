from . import generation as generation
from .audit import AuditReport as AuditReport, audit_benchmark as audit_benchmark
from .export import (
    LIMIT_SECONDS as LIMIT_SECONDS, ExportReport as ExportReport, check_form as check_form,
    export_benchmark as export_benchmark,
)
from .generation import Draw as Draw
from .manifest import sha256 as sha256
from .regeneration import (
    SELECTIONS as SELECTIONS, assumed as assumed, attack_points as attack_points,
    drawn_by_network as drawn_by_network, load_pool as load_pool, pick_networks as pick_networks, settle as settle,
)
from .staged_folder import check_target as check_target
