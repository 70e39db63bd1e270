/**
 * `npm run acceptance -- NAME`: the full form of a suite whose smoke form runs with the tests.
 * `wire` fuzzes 10^6 frames; the others do more and larger of everything.
 */
import { spawnSync } from 'node:child_process';

interface Suite {
  readonly project: 'unit' | 'e2e' | 'interop';
  readonly path: string;
}

/** Whole clusters of ours, then what is proven with the published Mooncake, etcd and redis. */
const e2e = ['up', 'api', 'exactness', 'faults', 'hygiene'] as const;
const interop = {
  python: 'real-client',
  'master-calls': 'master-calls',
  releases: 'releases',
  'store-client': 'store-client',
  'mixed-pool': 'mixed-pool',
  metadata: 'metadata',
  transfer: 'transfer',
  'store-node': 'store-node',
  'disk-tier': 'disk-tier',
  journal: 'journal',
  standby: 'standby',
  'lost-holder': 'lost-holder',
  'mooncake-faults': 'faults',
} as const;

const suites: Readonly<Record<string, Suite>> = {
  ...Object.fromEntries(
    e2e.map((name): [string, Suite] => [name, { project: 'e2e', path: `e2e/${name}.e2e.test.ts` }]),
  ),
  wire: { project: 'unit', path: 'packages/wire/test' },
  ...Object.fromEntries(
    Object.entries(interop).map(([name, file]): [string, Suite] => [
      name,
      { project: 'interop', path: `interop/${file}.interop.test.ts` },
    ]),
  ),
};
const [name = ''] = process.argv.slice(2);
const suite = suites[name];
if (suite === undefined) {
  process.stderr.write(`usage: npm run acceptance -- ${Object.keys(suites).join('|')}\n`);
  process.exit(1);
}
const { status } = spawnSync(
  'npx',
  [
    ...['vitest', 'run', '--project', suite.project, suite.path],
    ...['--testTimeout', '900000', '--hookTimeout', '900000', '--reporter', 'verbose'],
  ],
  { stdio: 'inherit', env: { ...process.env, TSUKIMI_FORM: 'full', FUZZ_FRAMES: '1000000' } },
);
process.exit(status ?? 1);
