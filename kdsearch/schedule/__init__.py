"""Ray: the cluster, the teachers as tasks, and Tune running packs."""

from kdsearch.schedule.launch import Unwatched, Watch, artifacts_folder, launch_study

__all__ = ["Unwatched", "Watch", "artifacts_folder", "launch_study"]
