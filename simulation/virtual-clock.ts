import { assert, type Clock, type Scheduled } from '@tsukimi/base';

class Event implements Scheduled {
  readonly atMs: number;
  readonly order: number;
  wake: (() => void) | null;

  constructor(atMs: number, order: number, wake: () => void) {
    this.atMs = atMs;
    this.order = order;
    this.wake = wake;
  }

  /** It stays in the queue, and is passed over when its time comes. */
  cancel(): void {
    this.wake = null;
  }
}

/**
 * Time that jumps from one event to the next. Events at the same time happen in the order they were
 * asked for, so that a run with the same seed is the same run.
 */
export class VirtualClock implements Clock {
  /** A binary heap: every event is no later than the two at twice its place, plus one and two. */
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #scheduledCount = 0;

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, wake: () => void): Scheduled {
    assert(delayMs >= 0, 'nothing happens in the past');
    const event = new Event(this.#nowMs + delayMs, this.#scheduledCount++, wake);
    this.#heap.push(event);
    this.#rise(this.#heap.length - 1);
    return event;
  }

  /** Until nothing is left to happen. */
  run(): void {
    for (let event = this.#takeFirst(); event !== null; event = this.#takeFirst()) {
      if (event.wake === null) continue;
      this.#nowMs = event.atMs;
      event.wake();
    }
  }

  #takeFirst(): Event | null {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined) return null;
    if (heap.length > 0) {
      heap[0] = last;
      this.#sink();
    }
    return first;
  }

  #rise(from: number): void {
    const heap = this.#heap;
    const event = heap[from] as Event;
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(event, heap[above] as Event)) break;
      heap[at] = heap[above] as Event;
      at = above;
    }
    heap[at] = event;
  }

  #sink(): void {
    const heap = this.#heap;
    const event = heap[0] as Event;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Event, heap[below] as Event)) {
        below += 1;
      }
      if (!isBefore(heap[below] as Event, event)) break;
      heap[at] = heap[below] as Event;
      at = below;
    }
    heap[at] = event;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.atMs === other.atMs ? one.order < other.order : one.atMs < other.atMs;
}
