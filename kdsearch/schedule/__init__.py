"""Ray: the cluster, the teachers as tasks, and Tune running packs. `launch.launch_study` runs a study."""
