"""Agents in processes of their own, over the wire: `worker` agents, and the supervision of their processes.

Lives here: starting and ending processes (`process.py`), one worker and its episodes (`link.py`), the agent
that sits in the seat (`agent.py`), the factory of `type = "worker"` (`make.py`).
Does not: frames and messages (wire), trainers (jobs), the worker's side (the kit, `worker/`).
"""
