"""Drives the published Mooncake package from another process.

One JSON object a line on standard input, {"id", "on", "call", "args"}, answered by {"id", "result"} or
{"id", "raised"}. `on` is "store", "engine" or "worker". Values that JSON lacks are objects with one member:
  {"$bytes": base64}; {"$pattern": [seed, size]}, `size` bytes that follow from `seed`;
  {"$config": {field: value}}, a ReplicateConfig; {"$notify": [name, message]}; {"$opcode": "Read"};
  {"$address": [buffer, offset]}, an address in a buffer that worker.allocate made.
Long bytes are answered as {"$digest": SHA-256 in hex, "size": n}.
"""

import base64
import ctypes
import hashlib
import json
import os
import sys

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # What native code prints goes to the log.


def pattern(seed, size):
    """Bytes that depend on seed and place: SHA-256 of the seed, repeated with the block's number."""
    if size == 0:
        return b""
    block = hashlib.sha256(str(seed).encode()).digest() * 32
    count = -(-size // 1032)
    return b"".join(number.to_bytes(8, "little") + block for number in range(count))[:size]


class Worker:
    def __init__(self):
        self.buffers = []

    def allocate(self, size):
        self.buffers.append((ctypes.c_char * size)())
        return len(self.buffers) - 1

    def address(self, buffer, offset=0):
        return ctypes.addressof(self.buffers[buffer]) + offset

    def fill(self, buffer, offset, data):
        ctypes.memmove(self.address(buffer, offset), data, len(data))

    def peek(self, buffer, offset, size):
        return ctypes.string_at(self.address(buffer, offset), size)

    def descriptors(self, key):
        """Where the copies of a key are, as plain data."""
        return [describe(replica) for replica in targets["store"].get_replica_desc(key)]


def describe(replica):
    if replica.is_memory_replica():
        buffer = replica.get_memory_descriptor().buffer_descriptor
        return {
            "kind": "memory",
            "status": str(replica.status),
            "size": buffer.size,
            "address": str(buffer.buffer_address),
            "endpoint": buffer.transport_endpoint,
        }
    return {"kind": "disk"}


def given(value):
    if isinstance(value, list):
        return [given(element) for element in value]
    if not isinstance(value, dict):
        return value
    if "$bytes" in value:
        return base64.b64decode(value["$bytes"])
    if "$pattern" in value:
        return pattern(*value["$pattern"])
    if "$notify" in value:
        from mooncake.engine import TransferNotify

        return TransferNotify(*value["$notify"])
    if "$opcode" in value:
        from mooncake.engine import TransferOpcode

        return getattr(TransferOpcode, value["$opcode"])
    if "$address" in value:
        return targets["worker"].address(*value["$address"])
    if "$config" in value:
        from mooncake.store import ReplicateConfig

        config = ReplicateConfig()
        for name, field in value["$config"].items():
            setattr(config, name, field)
        return config
    return {name: given(element) for name, element in value.items()}


def plain(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if len(data) <= 1024:
            return {"$bytes": base64.b64encode(data).decode()}
        return {"$digest": hashlib.sha256(data).hexdigest(), "size": len(data)}
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {str(name): plain(element) for name, element in value.items()}
    if hasattr(value, "is_memory_replica"):
        return describe(value)
    if hasattr(value, "size") and hasattr(value, "ptr"):  # BufferHandle
        return plain(ctypes.string_at(value.ptr(), value.size()))
    if hasattr(value, "name") and hasattr(value, "msg"):  # TransferNotify
        return {"name": value.name, "message": value.msg}
    if hasattr(value, "assigned_client"):  # QueryTaskResponse
        return {"status": str(value.status), "type": str(value.type), "message": value.message}
    return {"$other": type(value).__name__}


targets = {"worker": Worker()}


def target(name):
    if name not in targets:
        if name == "store":
            from mooncake.store import MooncakeDistributedStore

            targets[name] = MooncakeDistributedStore()
        elif name == "engine":
            from mooncake.engine import TransferEngine

            targets[name] = TransferEngine()
    return targets[name]


for line in sys.stdin:
    request = json.loads(line)
    try:
        result = getattr(target(request["on"]), request["call"])(*given(request["args"]))
        answer = {"id": request["id"], "result": plain(result)}
    except Exception as error:
        answer = {"id": request["id"], "raised": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
os._exit(0)
