import { grouped } from './grouped.ts';
import type { SweepRow } from './sweep.ts';

const panelWidth = 380;
const panelHeight = 280;
const margin = { left: 56, top: 40, right: 16, bottom: 44 };
/** Distinct for most eyes (Okabe and Ito, 2008); lines differ in their dashes too. */
const colours = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#000000',
  '#7f7f7f',
];
const dashes = ['', '6 3', '2 3', '8 3 2 3'];

interface Panel {
  readonly title: string;
  readonly of: (row: SweepRow) => number;
  /** Where on the axis from 0 to 1 a value is. */
  readonly place: (value: number) => number;
  readonly ticks: readonly (readonly [number, string])[];
}

const tenth = 0.1;
const thousand = 1_000;
const onLog = (seconds: number) => Math.log10(seconds / tenth) / Math.log10(thousand / tenth);

const panels: readonly Panel[] = [
  {
    title: 'TTFT p90, seconds',
    of: ({ ttftMs }) => ttftMs.p90 / 1_000,
    place: onLog,
    ticks: [
      [0.1, '0.1'],
      [1, '1'],
      [10, '10'],
      [100, '100'],
      [1_000, '1000'],
    ],
  },
  {
    title: 'Requests within the objective',
    of: ({ goodPart }) => goodPart,
    place: (part) => part,
    ticks: [0, 0.25, 0.5, 0.75, 1].map((part) => [part, `${part * 100} %`] as const),
  },
];

/**
 * An SVG: a row of panels for each store, load and share of prefill, over the number of instances,
 * and a line for each policy.
 */
export function plot(rows: readonly SweepRow[], title: string): string {
  const groups = [
    ...grouped(
      rows,
      ({ store, load, prefillShare }) =>
        `${store} store, load ${load}, ${prefillShare * 100} % prefill`,
    ),
  ];
  const names = [...new Set(rows.map(({ policy }) => policy))];
  const sizes = [...new Set(rows.map(({ instances }) => instances))].toSorted(
    (one, other) => one - other,
  );
  const width = panels.length * panelWidth;
  const top = 30;
  const legendHeight = 18 * Math.ceil(names.length / 4) + 14;
  const height = top + groups.length * panelHeight + legendHeight;
  const parts = groups.flatMap(([name, group], at) =>
    panels.map((panel, column) =>
      drawPanel(panel, name, group, { names, sizes }, column * panelWidth, top + at * panelHeight),
    ),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="${margin.left}" y="20" font-size="14" font-weight="600">${escaped(title)}</text>
${parts.join('\n')}
${drawLegend(names, height - legendHeight + 10)}
</svg>
`;
}

function drawPanel(
  { title, of, place, ticks }: Panel,
  name: string,
  rows: readonly SweepRow[],
  { names, sizes }: { readonly names: readonly string[]; readonly sizes: readonly number[] },
  left: number,
  top: number,
): string {
  const innerWidth = panelWidth - margin.left - margin.right;
  const innerHeight = panelHeight - margin.top - margin.bottom;
  const x = (instances: number) =>
    left + margin.left + (innerWidth * (sizes.indexOf(instances) + 0.5)) / sizes.length;
  const y = (value: number) =>
    top + margin.top + innerHeight * (1 - Math.min(1, Math.max(0, place(value))));
  const grid = ticks.map(
    ([value, label]) =>
      `<line x1="${left + margin.left}" x2="${left + margin.left + innerWidth}" y1="${y(value)}" y2="${y(value)}" stroke="#dddddd"/>` +
      `<text x="${left + margin.left - 6}" y="${y(value) + 4}" text-anchor="end" fill="#444444">${label}</text>`,
  );
  const below = top + margin.top + innerHeight;
  const labels = sizes.map(
    (size) =>
      `<text x="${x(size)}" y="${below + 16}" text-anchor="middle" fill="#444444">${size}</text>`,
  );
  const lines = names.map((policy, at) => {
    const points = rows
      .filter((row) => row.policy === policy)
      .map((row) => `${x(row.instances).toFixed(1)},${y(of(row)).toFixed(1)}`);
    const dots = points
      .map((point) => point.split(','))
      .map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="2.5" fill="${colourOf(at)}"/>`);
    return `<polyline points="${points.join(' ')}" fill="none" ${strokeOf(at)}/>${dots.join('')}`;
  });
  return [
    `<text x="${left + margin.left}" y="${top + 18}" font-weight="600">${escaped(title)}</text>`,
    `<text x="${left + margin.left}" y="${top + 32}" fill="#666666" font-size="11">${escaped(name)}</text>`,
    ...[...grid, ...labels],
    `<text x="${left + margin.left + innerWidth / 2}" y="${below + 34}" text-anchor="middle" fill="#444444">instances</text>`,
    ...lines,
  ].join('\n');
}

function drawLegend(names: readonly string[], top: number): string {
  return names
    .map((name, at) => {
      const x = margin.left + (at % 4) * 180;
      const y = top + Math.floor(at / 4) * 18;
      return `<line x1="${x}" x2="${x + 24}" y1="${y}" y2="${y}" ${strokeOf(at)}/><text x="${x + 30}" y="${y + 4}">${escaped(name)}</text>`;
    })
    .join('\n');
}

function colourOf(at: number): string {
  return colours[at % colours.length] as string;
}

function strokeOf(at: number): string {
  const dash = dashes[Math.floor(at / 2) % dashes.length] as string;
  return `stroke="${colourOf(at)}" stroke-width="2"${dash === '' ? '' : ` stroke-dasharray="${dash}"`}`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
