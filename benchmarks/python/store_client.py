"""A store client of the published package that is measured, or holds a segment.

Usage: store_client.py NAME METADATA MASTER SEGMENT_BYTES [HOLDER_PID]
One JSON object a line on standard input, {"op", "size", "count", "batch", "ms"}; answered by {"bytes", "seconds",
"client_cpu", "holder_cpu", "median_us"}. CPU times are seconds of the whole process.
"""

import ctypes
import functools
import json
import os
import sys
import time

from mooncake.store import MooncakeDistributedStore

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # What native code prints goes to the log.
name, metadata, master, segment, *rest = sys.argv[1:]
holder = rest[0] if rest else None
store = MooncakeDistributedStore()
code = store.setup(name, metadata, int(segment), 128 << 20, "tcp", "", master)
if code != 0:
    raise SystemExit(f"setup: {code}")
print(json.dumps({"ready": True}), file=answers, flush=True)


def cpu(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


arena = None


def buffers(size, count):
    global arena
    if arena is None:
        arena = (ctypes.c_char * (256 << 20))()
        ctypes.memset(arena, 7, len(arena))
        store.register_buffer(ctypes.addressof(arena), len(arena))
    return [ctypes.addressof(arena) + index * size for index in range(count)]


def check(results, wanted):
    if any(result != wanted for result in results):
        raise SystemExit(f"unexpected results: {set(results)}")


def rounds(op, size, count, batch):
    """What one round does, call by call."""
    keys = [f"b/{size}/{index}" for index in range(count)]
    places = buffers(size, count)
    groups = [range(at, min(at + batch, count)) for at in range(0, count, batch)]
    value = bytes(size) if op == "put" else None
    call = {
        "put": lambda group: check([store.put(keys[group[0]], value)], 0),
        "get": lambda group: check([len(store.get(keys[group[0]]))], size),
        "put_from": lambda group: check([store.put_from(keys[group[0]], places[group[0]], size)], 0),
        "get_into": lambda group: check([store.get_into(keys[group[0]], places[group[0]], size)], size),
        "batch_put_from": lambda group: check(
            store.batch_put_from([keys[i] for i in group], [places[i] for i in group], [size] * len(group)), 0
        ),
        "batch_get_into": lambda group: check(
            store.batch_get_into([keys[i] for i in group], [places[i] for i in group], [size] * len(group)), size
        ),
    }[op]
    return [functools.partial(call, group) for group in groups]


def measure(op, size, count, batch, ms):
    puts = "put" in op
    clear = lambda: store.remove_all(True)
    filling = rounds("batch_put_from", size, count, 16)
    if not puts:
        for call in filling:
            call()
    calls = rounds(op, size, count, batch)
    for call in calls[: max(1, len(calls) // 4)]:
        call()
    if puts:
        clear()
    total = {"bytes": 0, "seconds": 0.0, "client_cpu": 0.0, "holder_cpu": 0.0}
    times = []
    until = time.monotonic() + ms / 1000
    while total["bytes"] == 0 or time.monotonic() < until:
        own, theirs, start = cpu("self"), cpu(holder), time.monotonic()
        last = start
        for call in calls:
            call()
            now = time.monotonic()
            times.append(now - last)
            last = now
        total["bytes"] += size * count
        total["seconds"] += last - start
        total["client_cpu"] += cpu("self") - own
        total["holder_cpu"] += cpu(holder) - theirs
        if puts:
            clear()
    clear()
    return {**total, "median_us": sorted(times)[len(times) // 2] * 1e6}


for line in sys.stdin:
    print(json.dumps(measure(**json.loads(line))), file=answers, flush=True)
store.close()
os._exit(0)
