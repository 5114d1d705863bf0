"""What the killed and the starved processes of test_kill do. Imported once, before they are forked."""

import copy
import resource

from run_helpers import record

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder, episode_id
from crossplay.records.identity import machine

machine()  # read once, as in any process that has written before
BASE = record(0)


def another(block, replicate):
    """BASE in another place."""
    r = copy.copy(BASE)
    r.block, r.replicate = block, replicate
    r.id = episode_id("s", r.root, r.env_id, r.lineup, block, replicate)
    return r


def write_for_ever(path, start, grouped, told):
    """Write episodes, and tell of each one once it is committed."""
    run = RunFolder.open(path, write=True, part_episodes=5)
    for block in range(start, 10**6):
        records = [another(block, r) for r in range(3)]
        if grouped:
            for future, r in [(run.submit(r), r) for r in records]:
                future.result()
                told.send_bytes(r.id.to_bytes(8, "little"))
        else:
            for r in records:
                run.put(r)
                told.send_bytes(r.id.to_bytes(8, "little"))


def write_until_full(path, limit, told):
    """Write with files of at most `limit` bytes; then with more room; tell what happened."""
    run, stored, line = RunFolder.open(path, write=True, part_episodes=1000), [], ""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        for block in range(10**6):
            run.put(another(block, 0))
            stored.append(another(block, 0).id)
    except CrossplayError as error:
        line = f"{error.exit_code} {error}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    run.put(another(0, 1))  # there is space again
    told.send((line, [*stored, another(0, 1).id]))


def close_when_full(path, told):
    """Write, run out of space while the rest of the buffer becomes a part, and tell the error."""
    run = RunFolder.open(path, write=True)
    run.put_many([another(b, 0) for b in range(8)])
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        run.close()
        told.send("")
    except CrossplayError as error:
        told.send(f"{error.exit_code} {error}")


def hold(path, told):
    """Hold a run open for writing until killed."""
    run = RunFolder.open(path, write=True)
    told.send(run.path.name)
    told.recv()
