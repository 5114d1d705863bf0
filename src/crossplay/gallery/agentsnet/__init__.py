"""AgentsNet: people in a network, who hear only their neighbours, solve one task together (arXiv 2507.08616)."""
