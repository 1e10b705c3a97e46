"""A study in its SQL database, written by its driver alone.

Imports neither Optuna, Ray nor torch; `StudyRecord.open` imports Optuna.
"""

from kdsearch.storage.add_runs import add_trials
from kdsearch.storage.export import export_study, import_study
from kdsearch.storage.mirror.store import load_optuna_study
from kdsearch.storage.record import StudyRecord
from kdsearch.storage.removal import delete_study, rename_study
from kdsearch.storage.rows.columns import TrialColumns, Trials, columns_of
from kdsearch.storage.rows.lease import Lease, hold_lease, request_stop
from kdsearch.storage.rows.origins import Origin, edited_code, load_origin
from kdsearch.storage.rows.queries import (
    list_studies,
    load_columns,
    load_epochs,
    load_hours,
    load_mark,
    load_slots,
    load_spec_of,
    load_study,
    load_teachers,
    load_trials,
)
from kdsearch.storage.rows.read import (
    HOPELESS,
    SET_ASIDE,
    Driver,
    EpochRow,
    Hours,
    Progress,
    StoppedSetup,
    StoredWidening,
    StudySummary,
    TeacherRow,
    TrialRow,
    by_setup,
    setup_keys,
)
from kdsearch.storage.sql.database import (
    Database,
    connect_database,
    open_database,
    parse_url,
    read_url,
    shown_url,
)
from kdsearch.storage.sql.schema import SchemaStatus
from kdsearch.storage.upgrading import schema_status, upgrade
from kdsearch.trial import DIVERGED

__all__ = [
    "DIVERGED",
    "HOPELESS",
    "SET_ASIDE",
    "Database",
    "Driver",
    "EpochRow",
    "Hours",
    "Lease",
    "Origin",
    "Progress",
    "SchemaStatus",
    "StoppedSetup",
    "StoredWidening",
    "StudyRecord",
    "StudySummary",
    "TeacherRow",
    "TrialColumns",
    "TrialRow",
    "Trials",
    "add_trials",
    "by_setup",
    "columns_of",
    "connect_database",
    "delete_study",
    "edited_code",
    "export_study",
    "hold_lease",
    "import_study",
    "list_studies",
    "load_columns",
    "load_epochs",
    "load_hours",
    "load_mark",
    "load_optuna_study",
    "load_origin",
    "load_slots",
    "load_spec_of",
    "load_study",
    "load_teachers",
    "load_trials",
    "open_database",
    "parse_url",
    "read_url",
    "rename_study",
    "request_stop",
    "schema_status",
    "setup_keys",
    "shown_url",
    "upgrade",
]
