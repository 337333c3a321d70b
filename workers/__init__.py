"""Celery workers: a task only wakes a worker up; the job table is the source of truth."""
