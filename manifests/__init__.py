"""Ground floor: what a record, a mask and a committed file are, and the ways to look at a finished dataset.

Nothing here imports another folder of the project.
"""
