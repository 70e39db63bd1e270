import { assert, Fault } from '@tsukimi/base';
import type { Memory } from './memory.ts';

const memoryCountMax = 1_024;

/** The memories of this engine that peers may read and write; every address is checked against it. */
export class MemoryRegistry {
  #memories: readonly Memory[] = [];

  get memories(): readonly Memory[] {
    return this.#memories;
  }

  /** Throws `OVERLOADED` when there are too many. */
  register(memory: Memory): void {
    assert(!this.#memories.includes(memory), 'a memory is registered once');
    if (this.#memories.length >= memoryCountMax) {
      throw new Fault('OVERLOADED', `more than ${memoryCountMax} memories are registered`);
    }
    this.#memories = [...this.#memories, memory];
  }

  /** Whether it was registered. */
  unregister(memory: Memory): boolean {
    const countBefore = this.#memories.length;
    this.#memories = this.#memories.filter((other) => other !== memory);
    return this.#memories.length < countBefore;
  }

  /** The bytes of `[address, address + byteCount)`, or null unless they lie in one memory. */
  resolve(address: bigint, byteCount: bigint): Buffer | null {
    if (byteCount < 1n) return null;
    for (const memory of this.#memories) {
      const start = address - memory.baseAddress;
      if (start >= 0n && start + byteCount <= BigInt(memory.byteCount)) {
        return memory.view.subarray(Number(start), Number(start + byteCount));
      }
    }
    return null;
  }

  checkInvariants(): void {
    const sorted = [...this.#memories].sort((a, b) => (a.baseAddress < b.baseAddress ? -1 : 1));
    sorted.forEach((memory, index) => {
      const next = sorted[index + 1];
      assert(memory.view.length === memory.byteCount, 'a view covers its memory');
      assert(
        next === undefined || memory.baseAddress + BigInt(memory.byteCount) <= next.baseAddress,
        'memories do not overlap',
      );
    });
  }
}
