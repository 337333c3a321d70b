"""Celery workers: a task only wakes a worker up; the job table is the source of truth."""

from paaplus import garbage

garbage.begin_process()  # before the imports, which are most of a start
