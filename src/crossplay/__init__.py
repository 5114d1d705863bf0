"""Crossplay: any mix of decision-makers, in the same environments, under the same seeds."""

__version__ = "0.1.0"
