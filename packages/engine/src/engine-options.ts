import type { Clock, Logger, Random } from '@tsukimi/base';
import type { LlamaModel } from '@tsukimi/llama';
import type { StepPlan } from './core/scheduler.ts';
import type { PrefixStore } from './prefix-store.ts';

export interface EngineOptions {
  /** Stays the caller's: closed by it, after the engine has stopped. */
  readonly model: LlamaModel;
  /** Requests that compute at once. */
  readonly slotCount: number;
  /** Tokens of prompt and output of one request at most. */
  readonly contextLength: number;
  readonly threads: number;
  /** Null: every prompt is computed. */
  readonly prefixStore: PrefixStore | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Requests that wait for a slot at most; 256 when absent. */
  readonly waitingCountMax?: number;
  /** Prompt tokens that one step computes at most; 256 when absent. */
  readonly prefillBudget?: number;
  /** How long a first token is held back for `saveBeforeFirstToken`; 2,000 when absent. */
  readonly handOverMs?: number;
  /** How long a prefix may take to come; 10,000 when absent. */
  readonly loadMs?: number;
  /** A long prompt is saved at this many tokens, and at twice, four times … as many; 2,048 when absent. */
  readonly firstMilestone?: number;
  /** Told of every step before it is computed. */
  readonly onStep?: (plan: StepPlan) => void;
}

export interface EngineStats {
  readonly runningCount: number;
  readonly waitingCount: number;
  readonly slotCount: number;
  readonly cellsPerSlot: number;
  /** Cells in use, by slot. */
  readonly slotCells: readonly number[];
  readonly stepCount: number;
  /** Prompt tokens of all requests that started; `cached` came from the store, `prefill` were computed. */
  readonly promptTokenCount: number;
  readonly cachedTokenCount: number;
  readonly prefillTokenCount: number;
  readonly generatedTokenCount: number;
  readonly failedCount: number;
  readonly skippedSaveCount: number;
}
