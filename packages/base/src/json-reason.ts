/**
 * What is wrong with a text that `JSON.parse` refused, without the part of it that V8 quotes: that may be a
 * password.
 */
export function jsonReason(error: unknown): string {
  return (error as Error).message.replace(/, (\.\.\.)?".*$/s, '');
}
