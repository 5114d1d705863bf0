"""Einstein puzzles with verifiers: who communicates, who guesses, and what a verifier repairs (arXiv 2510.25595)."""
