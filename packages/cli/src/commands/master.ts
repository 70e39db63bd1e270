import { createMaster, type MasterOptions, masterOptions } from '@tsukimi/master';
import { defineCommand } from '../command.ts';

export const masterCommand = defineCommand({
  name: 'master',
  summary: "Mooncake's master: which objects the store holds and where their copies lie.",
  options: masterOptions,
  async run(options, { clock, random, logger, env, run }) {
    const services = createMaster(options as MasterOptions, { clock, random, logger, env });
    await run(services, { shutdownTimeoutMs: 2_000 });
  },
});
