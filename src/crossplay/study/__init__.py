"""Floor 6, studies: spec, plan, runner, tables, verification, report, export.

A study is environments x lineups x blocks (x replicates), with the questions asked of the result.
It receives envs, agents, models, records and measures from below and knows no face (cli, web).
"""
