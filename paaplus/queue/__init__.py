"""The job queue, in SQL. A Celery message only wakes a worker up; losing messages loses no work."""
