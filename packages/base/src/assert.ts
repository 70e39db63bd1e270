/** A broken promise of our own code. Never thrown for outside input: that is validated. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** States what must hold. Always on; `message` says what should have held. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
