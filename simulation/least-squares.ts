/**
 * Coefficients, none below 0, that make `rows · coefficients` come nearest to `values`, each error
 * counted as a part of its value. A column that would get a coefficient below 0 is left out: more
 * tokens never take less time. Throws `RangeError` for fewer rows than columns, and for values that are
 * no numbers above 0.
 */
export function leastSquares(
  rows: readonly (readonly number[])[],
  values: readonly number[],
): number[] {
  const columnCount = rows[0]?.length ?? 0;
  if (rows.length < columnCount || values.length !== rows.length) {
    throw new RangeError(`${rows.length} points cannot tell ${columnCount} coefficients`);
  }
  const odd = [...values, ...rows.flat()].find((value) => !Number.isFinite(value));
  if (odd !== undefined || values.some((value) => value <= 0)) {
    throw new RangeError('only finite numbers can be fitted, and values above 0');
  }
  const used = new Set(Array.from({ length: columnCount }, (_, column) => column));
  while (used.size > 0) {
    const columns = [...used];
    const solved = solveNormal(
      rows.map((row) => columns.map((column) => row[column] as number)),
      values,
    );
    const lowest = solved.indexOf(Math.min(...solved));
    if ((solved[lowest] as number) >= 0) {
      const coefficients = Array.from({ length: columnCount }, () => 0);
      columns.forEach((column, at) => {
        coefficients[column] = solved[at] as number;
      });
      return coefficients;
    }
    used.delete(columns[lowest] as number);
  }
  return Array.from({ length: columnCount }, () => 0);
}

/** The normal equations with relative weights, each column scaled to 1, by elimination. */
function solveNormal(rows: readonly number[][], values: readonly number[]): number[] {
  const count = rows[0]?.length ?? 0;
  const scales = Array.from({ length: count }, (_, column) =>
    Math.max(...rows.map((row) => Math.abs(row[column] as number)), Number.MIN_VALUE),
  );
  const system = scales.map(() => Array.from({ length: count + 1 }, () => 0));
  rows.forEach((row, at) => {
    const weight = 1 / (values[at] as number);
    const scaled = row.map((value, column) => (value / (scales[column] as number)) * weight);
    for (const [i, equation] of system.entries()) {
      for (let j = 0; j < count; j++) {
        equation[j] = (equation[j] as number) + (scaled[i] as number) * (scaled[j] as number);
      }
      equation[count] = (equation[count] as number) + (scaled[i] as number);
    }
  });
  for (let pivot = 0; pivot < count; pivot++) {
    const below = system.slice(pivot);
    const largest = below.reduce((best, row) =>
      Math.abs(row[pivot] as number) > Math.abs(best[pivot] as number) ? row : best,
    );
    const swapped = system.indexOf(largest);
    [system[pivot], system[swapped]] = [largest, system[pivot] as number[]];
    for (const row of system) {
      if (row === largest) continue;
      const factor = (row[pivot] as number) / (largest[pivot] as number);
      for (let j = pivot; j <= count; j++) {
        row[j] = (row[j] as number) - factor * (largest[j] as number);
      }
    }
  }
  return system.map(
    (row, at) => (row[count] as number) / (row[at] as number) / (scales[at] as number),
  );
}
