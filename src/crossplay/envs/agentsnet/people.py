"""First names for seats: different, one word each, from many places."""

from __future__ import annotations

__all__ = ["NAMES"]

_TEXT = """
Ada Bruno Clara Dario Elif Farid Greta Hugo Ines Jonas Kira Leon Mina Nils Olga Pablo Quinn Rosa Sven Tara
Ugo Vera Wanda Xenia Yara Zeno Amara Boris Chidi Daria Emil Fatima Goran Hana Ivo Jelena Kofi Luca Marta Nadia
Otto Petra Qasim Rafael Selma Tomas Ursula Viktor Wren Ximena Yusuf Zara Arne Bianca Cyrus Dunja Enzo Freya Gita Hamid
Irma Juma Kaspar Linnea Mateo Noor Oskar Priya Radek Saskia Tariq Uma Vasil Winona Xander Yuki Zelda Aiko Bashir Celeste
Dimitri Esra Fabio Gwen Haruto Ilse Joaquin Katya Lamar Maja Nikolai Odette Pavel Renata Sakura Teo Umberto Violeta Wim Yolanda
Zoran Anouk Benicio Carmen Dieter Eluned Florin Gaia Henrik Isla Jamal Kenji Lotte Milan Nkechi Orhan Paloma Rohan Sigrid Timo
Ulrike Vuk Wilma Yannick Zuri Anselm Brigid Cosmin Delphine Egon Fiona Gustav Hilde Ismail Jorun Kamil Lucia Malik Nora Olek
Pilar Reza Sanna Tobias Uriel Valentina Wolfgang Yasmin Zdenka Aldo Birgit Caspian Dalia Erik Fleur Gideon Halima Igor Josefa Kwame
"""

NAMES: tuple[str, ...] = tuple(_TEXT.split())
"""160 names; a network of n seats takes the first n."""
