"""The properties that the kernel keeps, each as a function that raises when it does not hold.

The tests of the invariants call them as they are; the tests of mutations break one mechanism and
expect the property that guards it to raise. `of(k)` lists those of invariant k of the design.
"""

from properties import books, chains, going_on, information, seeds
from properties.common import CASES, of, run

__all__ = ["CASES", "books", "chains", "going_on", "information", "of", "run", "seeds"]
