/** What the workers of one proxy tell each other, and ask. */
export type PeerTopic = 'admin' | 'shares' | 'suspect' | 'membership' | 'view' | 'decisions';

/** The other workers of the same proxy. What is told and answered is cloned as JSON. */
export interface Peers {
  /** Of this one among all, never given twice. */
  readonly id: number;
  /** How many share the work, this one too; limits for all of them are divided by it. */
  readonly workerCount: number;
  /** To all others, in order, without waiting. */
  tell(topic: PeerTopic, value: unknown): void;
  onTold(topic: PeerTopic, handle: (value: unknown) => void): void;
  /** What all others that are ready answer within a second; those that are late are left out. */
  ask(topic: PeerTopic): Promise<readonly unknown[]>;
  onAsked(topic: PeerTopic, answer: () => unknown): void;
}

/** A proxy of one process. */
export const alone: Peers = {
  id: 0,
  workerCount: 1,
  tell: () => {},
  onTold: () => {},
  ask: () => Promise.resolve([]),
  onAsked: () => {},
};
