"""The job queue in SQL: rows are the truth, Celery messages only wake workers up."""
