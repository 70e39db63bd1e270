/** Lists of at most `count`, each taken when it is asked for. */
export function* piecesOf<T>(items: Iterable<T>, count: number): IterableIterator<T[]> {
  let piece: T[] = [];
  for (const item of items) {
    piece.push(item);
    if (piece.length < count) continue;
    yield piece;
    piece = [];
  }
  if (piece.length > 0) yield piece;
}
