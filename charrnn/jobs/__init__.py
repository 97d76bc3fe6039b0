"""Trainings that outlive whoever asked for them: their tables, what may be done with them, and who works on them.

It knows the database and the processes. It does not know users' rights, nor any front end.
"""
