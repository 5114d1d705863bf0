"""Who am I, and who else is here: what coders of a group chat recover of its speakers (arXiv 2604.00026)."""
