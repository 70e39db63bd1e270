import { createMaster, type MasterOptions, masterOptions } from '@tsukimi/master';
import { defineCommand } from '../command.ts';

export const masterCommand = defineCommand({
  options: masterOptions,
  async run(options, { clock, random, logger, env, run }) {
    const services = createMaster(options as MasterOptions, { clock, random, logger, env });
    await run(services, { shutdownTimeoutMs: 2_000 });
  },
});
