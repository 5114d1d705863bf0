"""Floor 0, the kernel: Env, Agent, Observation, Action, Channel, play(), events, seeds.

Everything that runs goes through `play` or `play_batch`, generators without I/O, and a driver.
Imports numpy and msgspec alone. No file access, no clock (drivers have one), no network here.
"""
