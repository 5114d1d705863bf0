"""Discussion paradigms and decision rules: who sees what, what rules make of the same ballots."""
