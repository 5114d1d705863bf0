"""OrchMAS: an orchestrator assigns turns to expert agents and re-plans by what they report (arXiv 2603.03005)."""
