/**
 * `npm run acceptance -- NAME`: the full form of a suite whose smoke form runs with the tests.
 * `wire` fuzzes 10^6 frames; the others are the end-to-end suites with more and larger of everything.
 */
import { spawnSync } from 'node:child_process';

const suites: Readonly<Record<string, { readonly project: string; readonly path: string }>> = {
  up: { project: 'e2e', path: 'e2e/up.e2e.test.ts' },
  api: { project: 'e2e', path: 'e2e/api.e2e.test.ts' },
  exactness: { project: 'e2e', path: 'e2e/exactness.e2e.test.ts' },
  faults: { project: 'e2e', path: 'e2e/faults.e2e.test.ts' },
  hygiene: { project: 'e2e', path: 'e2e/hygiene.e2e.test.ts' },
  wire: { project: 'unit', path: 'packages/wire/test' },
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
