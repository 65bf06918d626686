"""AllReduces between real MPI ranks: what each does, how they are started or found, and how such a run ends."""
