"""Static-DRA: a research task is split into a tree of parts of fixed depth and breadth (arXiv 2512.03887)."""
