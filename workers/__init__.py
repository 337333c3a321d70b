"""Celery workers: tasks are wake-ups, the job table is the truth."""
