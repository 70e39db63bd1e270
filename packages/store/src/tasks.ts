import type { QueryTaskResponse, Uuid } from '@tsukimi/wire';
import type { Gate } from './gate.ts';
import type { MasterLink } from './master-link.ts';
import type { CallOptions, Outcome } from './stored-object.ts';

export interface TasksOptions {
  readonly gate: Gate;
  readonly link: MasterLink;
  readonly controlTimeoutMs: number;
}

/** Copies and moves that holders of an object perform when the master asks them to. */
export class Tasks {
  readonly #options: TasksOptions;

  constructor(options: TasksOptions) {
    this.#options = options;
  }

  /** To all of these segments, by name; the task's id. */
  copy(key: string, targets: readonly string[], options: CallOptions = {}): Promise<Outcome<Uuid>> {
    const { controlTimeoutMs, gate, link } = this.#options;
    return gate.one('copy', controlTimeoutMs, options, (signal) =>
      link.ask('CreateCopyTask', [key, link.tenantId, targets], { signal }),
    );
  }

  /** From one segment to another, by name; the task's id. */
  move(
    key: string,
    source: string,
    target: string,
    options: CallOptions = {},
  ): Promise<Outcome<Uuid>> {
    const { controlTimeoutMs, gate, link } = this.#options;
    return gate.one('move', controlTimeoutMs, options, (signal) =>
      link.ask('CreateMoveTask', [key, link.tenantId, source, target], { signal }),
    );
  }

  /** How far it is; see `TaskStatus`. `TASK_NOT_FOUND`. */
  query(id: Uuid, options: CallOptions = {}): Promise<Outcome<QueryTaskResponse>> {
    const { controlTimeoutMs, gate, link } = this.#options;
    return gate.one('query', controlTimeoutMs, options, (signal) =>
      link.ask('QueryTask', [id], { signal }),
    );
  }
}
