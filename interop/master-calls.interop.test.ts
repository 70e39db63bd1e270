import { describe, expect, it } from 'vitest';
import { Processes } from '../e2e/processes.ts';
import { scenarios as ofDisks } from './disk-scenarios.ts';
import { scenarios as ofEviction } from './eviction-scenarios.ts';
import { playOnBoth } from './master-script.ts';
import { scenarios as ofObjects } from './object-scenarios.ts';
import { scenarios as ofTasks } from './task-scenarios.ts';
import { scenarios as ofTenants } from './tenant-scenarios.ts';

const scenarios = [...ofObjects, ...ofDisks, ...ofEviction, ...ofTasks, ...ofTenants];

describe('the calls of a client, one by one', () => {
  it.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
    'are answered by our master as by the real one: %s',
    async (_, scenario) => {
      await using processes = new Processes();
      const { real, own } = await playOnBoth(processes, scenario);
      expect(real.length).toBeGreaterThan(10);
      expect(own).toEqual(real);
    },
  );
});
