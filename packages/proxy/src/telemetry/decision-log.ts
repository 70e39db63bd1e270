import type { Assignment } from '../core/instance-load.ts';
import type { PoolInstance } from '../core/pool-instance.ts';

/** As `/status/decisions` shows it. */
export interface ShownDecision {
  /** ISO 8601. */
  readonly time: string;
  readonly request_id: string;
  readonly leg: 'prefill' | 'decode';
  /** 1 for a request's first try. */
  readonly attempt: number;
  readonly candidates: number;
  readonly chosen: string;
  readonly policy: string;
  readonly reason: string;
  readonly predicted_hit_tokens: number;
  /** Prompt tokens that were to be computed there before this one's. */
  readonly predicted_tokens_ahead: number;
  /** Until the prompt is computed there; 0 where it need not be. */
  readonly predicted_prompt_ms: number;
  /** `open` while it goes on; `answered`, `abandoned`, or why it failed. */
  readonly outcome: string;
}

interface Entry {
  wallMs: number;
  requestId: string;
  attempt: number;
  assignment: Assignment<PoolInstance>;
}

export const decisionCountMax = 512;

/** The last choices of instances, kept as they are and put into words only for who asks. */
export class DecisionLog {
  readonly #policyNames: Readonly<Record<'prefill' | 'decode', string>>;
  readonly #entries: Entry[] = [];
  #next = 0;

  constructor(policyNames: Readonly<Record<'prefill' | 'decode', string>>) {
    this.#policyNames = policyNames;
  }

  /** Once it is full, it allocates nothing. */
  add(
    wallMs: number,
    requestId: string,
    attempt: number,
    assignment: Assignment<PoolInstance>,
  ): void {
    const entry = this.#entries[this.#next];
    if (entry === undefined) this.#entries.push({ wallMs, requestId, attempt, assignment });
    else {
      entry.wallMs = wallMs;
      entry.requestId = requestId;
      entry.attempt = attempt;
      entry.assignment = assignment;
    }
    this.#next = (this.#next + 1) % decisionCountMax;
  }

  /** The newest first. */
  shown(): ShownDecision[] {
    const older = this.#entries.slice(0, this.#next);
    const newest = this.#entries.slice(this.#next);
    return [...newest, ...older].reverse().map((entry) => this.#show(entry));
  }

  #show({ wallMs, requestId, attempt, assignment }: Entry): ShownDecision {
    const { work, instance, reason, candidateCount, outcome } = assignment;
    const leg = work === 'prefill' ? 'prefill' : 'decode';
    return {
      time: new Date(wallMs).toISOString(),
      request_id: requestId,
      leg,
      attempt,
      candidates: candidateCount,
      chosen: instance.address,
      policy: this.#policyNames[leg],
      reason,
      predicted_hit_tokens: assignment.hitTokenCount,
      predicted_tokens_ahead: assignment.aheadTokenCount,
      predicted_prompt_ms: Math.round(assignment.predictedPromptMs),
      outcome: outcome === null ? 'open' : typeof outcome === 'string' ? outcome : outcome.reason,
    };
  }
}
