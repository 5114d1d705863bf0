"""OneFlow: a team of one model as a single conversation, and what a prefix cache makes of its cost."""
