"""A trainer without a framework: counts its way to the end, and misbehaves where its settings say so."""

import json
import os
import signal
import sys
import time

import numpy as np
from crossplay_worker import Worker, run


class Tiny(Worker):
    name = "tiny"
    roles = ("trainer",)

    def train(self, job):
        config = job.config
        at = 0 if job.resume is None else json.loads(job.resume.read_text())["at"]
        job.log(f"from {at}, slots {os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
        print("standard output")
        print("standard error", file=sys.stderr)
        tracks = job.tracks(rows=2, first=at)
        tracks.reset()
        (job.folder / "alive").write_text(str(os.getpid()))
        first = not (job.folder / "met").exists()
        while at < job.steps:
            tracks.step([0] * tracks.K)
            at += 1
            time.sleep(config.get("slow", 0.0))
            if at % 10 == 0:
                path = job.folder / "checkpoints" / f"{at}.json"
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps({"at": at}))
                job.metrics(at, loss=1.0 / at, returned=len(tracks.take_finished()))
                if config.get("form") == "name":  # its file is NAME.safetensors
                    path.rename(path.with_suffix(".safetensors"))
                    path = path.with_suffix("")
                job.checkpoint(path, at)
            if at == config.get("at", 35) and (first or config.get("always")):
                (job.folder / "met").touch()
                self.misbehave(job, config.get("how", ""))
            if not config.get("stubborn"):
                job.stop_if_cancelled()
        if config.get("how") == "arrays":
            return {"at": np.int64(at), "mean": np.zeros((2, 2))}
        if config.get("how") == "large":
            return "x" * 100_000
        return {"at": at, "dropped": job.dropped}

    def misbehave(self, job, how):
        if how == "die":
            while job._events:  # what was told has gone out
                time.sleep(0.01)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "hang":
            time.sleep(job.config.get("for", 600))
        elif how == "think":
            for _ in range(16):
                time.sleep(0.2)
                job.moved()
        elif how == "lack":
            import no_such_framework  # noqa: F401
        elif how == "fail":
            raise RuntimeError("the loss is not a number")
        elif how == "lie":
            job._tell("checkpoint", {"path": "../../outside", "step": 1})
            job._tell("checkpoint", {"path": "", "step": 1})
            job._tell("strange", {"text": "x" * 100_000})
            job.metrics(job.steps, bad=float("nan"), good=1.0)
            job._seq += 5
        elif how == "pickle":
            (job.folder / "checkpoints" / "2.PKL").touch()
            (job.folder / "checkpoints" / "3.json").symlink_to(job.folder / "checkpoints" / "2.PKL")
            for path in ("checkpoints/2.PKL", "checkpoints/3.json"):
                job._tell("checkpoint", {"path": path, "step": 99})
            if job.config.get("kit"):
                job.checkpoint("checkpoints/2.PKL", 99)
        elif how == "steps":
            for step in ("x", None, float("nan"), 1e300, -1, [3], True):
                (job.folder / "odd.json").write_text("{}")
                job._tell("checkpoint", {"path": "odd.json", "step": step})
                job._tell("metrics", {"step": step})


class Plain(Worker):
    name = "plain"

    def act(self, obs):
        return 0


if __name__ == "__main__":
    if "--nothing" in sys.argv:
        sys.exit("no module named patience")
    run(Plain() if "--plain" in sys.argv else Tiny())
