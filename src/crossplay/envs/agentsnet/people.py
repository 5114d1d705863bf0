"""First names for seats: different, one word each, from many places, in no order."""

from __future__ import annotations

__all__ = ["NAMES"]

_TEXT = """
Birgit Yuki Ursula Teo Priya Nadia Kofi Qasim Esra Arne Xenia Tomas Selma Wilma Cosmin Violeta Zdenka Rohan Pilar Joaquin
Juma Bianca Xander Boris Tariq Tobias Uriel Gaia Vasil Viktor Halima Daria Chidi Ximena Yasmin Bruno Dalia Zoran Clara Mateo
Gustav Yusuf Henrik Zara Vuk Ines Uma Nils Emil Nora Nkechi Rafael Goran Saskia Hana Jorun Mina Fleur Igor Eluned
Milan Olga Jonas Sanna Radek Yolanda Marta Noor Lamar Dimitri Farid Celeste Gwen Jamal Anselm Paloma Reza Aldo Pablo Fiona
Leon Delphine Kaspar Gideon Nikolai Lotte Malik Petra Odette Wren Ismail Umberto Timo Jelena Ada Ugo Fatima Zelda Winona Olek
Haruto Hamid Hugo Wolfgang Kenji Vera Bashir Benicio Enzo Rosa Linnea Kamil Quinn Caspian Ivo Isla Yannick Yara Elif Ulrike
Kwame Maja Irma Zeno Lucia Gita Sigrid Sakura Oskar Hilde Zuri Orhan Renata Greta Carmen Freya Pavel Dieter Ilse Dario
Dunja Valentina Brigid Aiko Florin Luca Kira Wim Amara Fabio Tara Josefa Otto Katya Anouk Wanda Egon Sven Erik Cyrus
"""

NAMES: tuple[str, ...] = tuple(_TEXT.split())
"""160 names; a network of n seats takes the first n."""
