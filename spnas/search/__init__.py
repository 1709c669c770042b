"""The search: Optuna proposes, Ray Tune runs, spnas decides and keeps the records."""
