"""The collaboration gap: two who solve a maze alone fail together, unless somebody opens well (arXiv 2511.02687)."""
