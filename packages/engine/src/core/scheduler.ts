import { assert, Fault } from '@tsukimi/base';

export type RequestId = number & { readonly of: 'request' };

/** What a slot, one sequence of the context, is doing. `computed` counts cells, from position 0. */
export type SlotState =
  | { readonly kind: 'free' }
  /** Its KV is being looked for; the slot computes nothing. */
  | { readonly kind: 'loading'; readonly id: RequestId; readonly target: number }
  /** Tokens [computed, target) are still to be computed before the first one is sampled. */
  | {
      readonly kind: 'prefill';
      readonly id: RequestId;
      readonly computed: number;
      readonly target: number;
    }
  /** A token is sampled and kept back until the prompt's KV is handed over; the slot computes nothing. */
  | { readonly kind: 'held'; readonly id: RequestId; readonly computed: number }
  /** The token at position `computed` is known and comes next. */
  | { readonly kind: 'decode'; readonly id: RequestId; readonly computed: number };

/** Rows of one slot in a step: the tokens at positions [from, from + count). */
export interface PlannedRows {
  readonly id: RequestId;
  readonly slot: number;
  readonly kind: 'prefill' | 'decode';
  readonly from: number;
  readonly count: number;
  /** The last row may be sampled from. */
  readonly output: boolean;
}

export interface StepPlan {
  /** In order of slots: llama.cpp computes neighbours together. */
  readonly rows: readonly PlannedRows[];
  readonly prefillCount: number;
  readonly decodeCount: number;
}

export interface SchedulerOptions {
  readonly slotCount: number;
  /** Tokens that a slot holds. */
  readonly cellsPerSlot: number;
  /** Requests beyond the slots that may wait. */
  readonly waitingCountMax: number;
  /** Prompt tokens of all slots together that one step computes at most, so that others never wait for a long prompt. */
  readonly prefillBudget: number;
  /** A prefill stops at this position, and at twice, four times … it, so that the shell can save what is done. */
  readonly firstMilestone: number;
}

interface Waiting {
  readonly id: RequestId;
  readonly tokenCount: number;
}

/** Which request is in which slot, and which tokens the next step computes. First come, first served. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #slots: SlotState[];
  readonly #slotById = new Map<RequestId, number>();
  #waiting: Waiting[] = [];
  #turn = 0;

  constructor(options: SchedulerOptions) {
    assert(options.slotCount >= 1 && options.prefillBudget >= 1, 'a scheduler has slots and rows');
    this.#options = options;
    this.#slots = Array.from({ length: options.slotCount }, () => ({ kind: 'free' }));
  }

  get slots(): readonly SlotState[] {
    return this.#slots;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get runningCount(): number {
    return this.#slotById.size;
  }

  get idle(): boolean {
    return this.#waiting.length === 0 && this.#slotById.size === 0;
  }

  slotOf(id: RequestId): number | null {
    return this.#slotById.get(id) ?? null;
  }

  /** Queues a request with so many tokens to compute before the first is sampled. Fault OVERLOADED when the queue is full. */
  submit(id: RequestId, tokenCount: number): void {
    assert(tokenCount >= 1 && tokenCount <= this.#options.cellsPerSlot, 'a prompt fits a slot');
    const freeCount = this.#options.slotCount - this.#slotById.size;
    if (this.#waiting.length >= this.#options.waitingCountMax + freeCount) {
      throw new Fault(
        'OVERLOADED',
        `${this.#waiting.length} requests are already waiting for one of ${this.#options.slotCount} slots; come back later`,
      );
    }
    this.#waiting.push({ id, tokenCount });
  }

  /** Gives the free slots to those who wait, lowest slot first; they are `loading` then. */
  admit(): { readonly id: RequestId; readonly slot: number }[] {
    const admitted: { id: RequestId; slot: number }[] = [];
    for (let slot = 0; slot < this.#slots.length && this.#waiting.length > 0; slot++) {
      if (this.#slots[slot]?.kind !== 'free') continue;
      const { id, tokenCount } = this.#waiting.shift() as Waiting;
      this.#slots[slot] = { kind: 'loading', id, target: tokenCount };
      this.#slotById.set(id, slot);
      admitted.push({ id, slot });
    }
    return admitted;
  }

  /** So many leading cells are in place; the rest is computed. */
  loaded(id: RequestId, cells: number): void {
    const { slot, state } = this.#find(id);
    assert(state.kind === 'loading', 'a request that was loading has loaded');
    assert(cells >= 0 && cells < state.target, 'at least one token is left to compute');
    this.#slots[slot] = { kind: 'prefill', id, computed: cells, target: state.target };
  }

  /** The next step: a row for every decoding slot, and prompt tokens within the budget, in fair shares. */
  plan(): StepPlan {
    this.#turn++;
    const shares = this.#prefillShares();
    const rows: PlannedRows[] = [];
    let prefillCount = 0;
    let decodeCount = 0;
    for (let slot = 0; slot < this.#slots.length; slot++) {
      const state = this.#slots[slot] as SlotState;
      if (state.kind === 'decode') {
        rows.push({
          id: state.id,
          slot,
          kind: 'decode',
          from: state.computed,
          count: 1,
          output: true,
        });
        decodeCount++;
      } else if (state.kind === 'prefill') {
        const count = shares.get(slot) ?? 0;
        if (count === 0) continue;
        const output = state.computed + count === state.target;
        rows.push({ id: state.id, slot, kind: 'prefill', from: state.computed, count, output });
        prefillCount += count;
      }
    }
    return { rows, prefillCount, decodeCount };
  }

  /** These rows of the last plan are computed. A finished prompt decodes from here on, unless it is held or removed. */
  computed(rows: readonly PlannedRows[]): void {
    for (const { id, slot, from, count } of rows) {
      const state = this.#slots[slot] as SlotState;
      assert(
        (state.kind === 'prefill' || state.kind === 'decode') &&
          state.id === id &&
          state.computed === from,
        'a plan is completed as it was made',
      );
      const computed = from + count;
      this.#slots[slot] =
        state.kind === 'prefill' && computed < state.target
          ? { ...state, computed }
          : { kind: 'decode', id, computed };
    }
  }

  hold(id: RequestId): void {
    const { slot, state } = this.#find(id);
    assert(state.kind === 'decode', 'only what would decode is held');
    this.#slots[slot] = { kind: 'held', id, computed: state.computed };
  }

  release(id: RequestId): void {
    const { slot, state } = this.#find(id);
    assert(state.kind === 'held', 'only what is held is released');
    this.#slots[slot] = { kind: 'decode', id, computed: state.computed };
  }

  /** Takes a request out wherever it is; gives the slot it frees. */
  remove(id: RequestId): number | null {
    const slot = this.#slotById.get(id);
    if (slot === undefined) {
      this.#waiting = this.#waiting.filter((entry) => entry.id !== id);
      return null;
    }
    this.#slots[slot] = { kind: 'free' };
    this.#slotById.delete(id);
    return slot;
  }

  checkInvariants(): void {
    const { slotCount, cellsPerSlot, waitingCountMax } = this.#options;
    assert(this.#waiting.length <= waitingCountMax + slotCount, 'the queue keeps its limit');
    const seen = new Set<RequestId>(this.#waiting.map(({ id }) => id));
    assert(seen.size === this.#waiting.length, 'nobody waits twice');
    for (const [slot, state] of this.#slots.entries()) {
      if (state.kind === 'free') continue;
      assert(!seen.has(state.id), 'a request is in one place');
      seen.add(state.id);
      assert(this.#slotById.get(state.id) === slot, 'a busy slot is known by its request');
      if (state.kind === 'loading') continue;
      assert(state.computed >= 0 && state.computed <= cellsPerSlot, 'cells lie within the slot');
      if (state.kind === 'prefill') {
        assert(state.computed < state.target, 'a prefill has something left to compute');
      }
    }
    assert(this.#slotById.size + this.#waiting.length === seen.size, 'no slot is lost');
  }

  /** Water filling: whoever needs less than an equal share leaves the rest to the others. */
  #prefillShares(): Map<number, number> {
    const needs: { slot: number; need: number }[] = [];
    for (let index = 0; index < this.#slots.length; index++) {
      // Who comes first changes from step to step, for budgets smaller than the number of slots.
      const slot = (index + this.#turn) % this.#slots.length;
      const state = this.#slots[slot] as SlotState;
      if (state.kind !== 'prefill') continue;
      const untilMilestone = this.#nextMilestone(state.computed) - state.computed;
      needs.push({ slot, need: Math.min(state.target - state.computed, untilMilestone) });
    }
    needs.sort((left, right) => left.need - right.need);
    const shares = new Map<number, number>();
    let left = this.#options.prefillBudget;
    for (const [index, { slot, need }] of needs.entries()) {
      const share = Math.min(need, Math.ceil(left / (needs.length - index)));
      shares.set(slot, share);
      left -= share;
    }
    return shares;
  }

  #nextMilestone(computed: number): number {
    let milestone = this.#options.firstMilestone;
    while (milestone <= computed) milestone *= 2;
    return milestone;
  }

  #find(id: RequestId): { slot: number; state: Exclude<SlotState, { kind: 'free' }> } {
    const slot = this.#slotById.get(id);
    assert(slot !== undefined, 'the request is in a slot');
    const state = this.#slots[slot] as SlotState;
    assert(state.kind !== 'free', 'the slot of a request is not free');
    return { slot, state };
  }
}
