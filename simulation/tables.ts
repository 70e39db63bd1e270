import { grouped } from './grouped.ts';
import type { Percentiles } from './summary.ts';
import type { SweepRow } from './sweep.ts';

const columns: readonly (readonly [string, (row: SweepRow) => string])[] = [
  ['policy', ({ policy }) => policy],
  ['TTFT p50/p90/p99, s', ({ ttftMs }) => three(ttftMs, (ms) => seconds(ms))],
  ['TPOT p50/p90/p99, ms', ({ tpotMs }) => three(tpotMs, (ms) => ms.toFixed(1))],
  ['within objective', ({ goodPart }) => percent(goodPart)],
  ['goodput, requests/s', ({ goodput }) => goodput.toFixed(2)],
  ['hit rate', ({ hitRate }) => percent(hitRate)],
  ['of its bound', ({ hitRate, hitBound }) => percent(hitBound === 0 ? 1 : hitRate / hitBound)],
  ['foreseen', ({ predictedHitRate }) => percent(predictedHitRate)],
  ['busiest/mean, prefill', ({ prefill }) => prefill.maxOverMean.toFixed(2)],
  ['decode', ({ decode }) => decode.maxOverMean.toFixed(2)],
  ['computed twice', ({ repeatedPart }) => percent(repeatedPart)],
  ['refused', ({ refusedCount }) => String(refusedCount)],
];

/** Markdown: a heading and a table for each cluster, a line for each policy. */
export function tables(rows: readonly SweepRow[]): string {
  const groups = grouped(rows, titleOf);
  return [...groups]
    .map(([title, group]) =>
      [
        `#### ${title}`,
        '',
        line(columns.map(([name]) => name)),
        line(columns.map((_, at) => (at === 0 ? '---' : '--:'))),
        ...group.map((row) => line(columns.map(([, of]) => of(row)))),
        '',
      ].join('\n'),
    )
    .join('\n');
}

function titleOf(row: SweepRow): string {
  const { prefillCount, decodeCount, store, load, requestsPerSecond } = row;
  return `${prefillCount} prefill + ${decodeCount} decode, ${store} store, load ${load} (${requestsPerSecond.toFixed(2)} requests/s)`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function three({ p50, p90, p99 }: Percentiles, show: (value: number) => string): string {
  return [p50, p90, p99].map(show).join(' / ');
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(ms < 10_000 ? 2 : 1);
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`;
}
