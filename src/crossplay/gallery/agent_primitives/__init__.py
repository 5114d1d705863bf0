"""Agent primitives: review, select and plan as parts that compose; what one agent's computed prefix saves the next."""
