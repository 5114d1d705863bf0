"""OPTAGENT: who debates with whom is learnt from a reflector's scores while the discussion runs."""
