/** Between a worker and the process that started it, over Node's IPC channel. */
export type FromWorker =
  | { readonly tsukimi: 'ready' }
  | { readonly tsukimi: 'tell'; readonly topic: string; readonly value: unknown }
  | { readonly tsukimi: 'ask'; readonly id: number; readonly topic: string }
  | { readonly tsukimi: 'reply'; readonly id: number; readonly value: unknown };

export type ToWorker =
  | { readonly tsukimi: 'told'; readonly topic: string; readonly value: unknown }
  | { readonly tsukimi: 'question'; readonly id: number; readonly topic: string }
  | { readonly tsukimi: 'answers'; readonly id: number; readonly values: readonly unknown[] };
