import { defineConfig } from 'vitest/config';

const onSources = {
  resolve: { conditions: ['@tsukimi/source', 'node'] },
  ssr: { resolve: { conditions: ['@tsukimi/source', 'node'] } },
};

const reportDirectory = process.env['TSUKIMI_TEST_REPORTS'];

export default defineConfig({
  test: {
    // Continuous integration counts tests from these files.
    ...(reportDirectory === undefined
      ? {}
      : {
          reporters: ['default', 'json'],
          outputFile: { json: `${reportDirectory}/${process.pid}.json` },
        }),
    projects: [
      {
        ...onSources,
        test: {
          name: 'unit',
          include: [
            'packages/*/test/**/*.test.ts',
            'simulation/test/**/*.test.ts',
            'tooling/test/**/*.test.ts',
          ],
          exclude: ['**/*.e2e.test.ts', '**/node_modules/**'],
        },
      },
      {
        ...onSources,
        test: {
          name: 'e2e',
          include: ['e2e/**/*.e2e.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        ...onSources,
        test: {
          name: 'interop',
          include: ['interop/**/*.interop.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
