"""How teams scale: clones and different members, with K* as the number of effective channels."""
