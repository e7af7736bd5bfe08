"""From a list of ops to a program, and its run over a batch by a team of threads."""
