"""Workers for frameworks, each run in an interpreter that has the framework:

    python -m crossplay_worker.frameworks.sb3       Stable-Baselines3 and SB3-Contrib
    python -m crossplay_worker.frameworks.cleanrl   PPO in one file, in the manner of CleanRL
    python -m crossplay_worker.frameworks.rllib     Ray RLlib
    python -m crossplay_worker.frameworks.skrl      skrl

All of them train (role "trainer") and play what they trained (role "agent", `config = { checkpoint = "..." }`).
"""
