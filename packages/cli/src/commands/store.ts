import { createStorageNode, nodeOptions } from '@tsukimi/store';
import { defineCommand } from '../command.ts';

export const storeCommand = defineCommand({
  options: nodeOptions,
  async run(options, { clock, random, logger, env, print, run }) {
    const node = await createStorageNode(options, { clock, random, logger, env });
    for (const notice of node.notices) logger.info('store.notice', { notice });
    await run(node.services, {
      shutdownTimeoutMs: options.shutdownTimeout * 1_000,
      onReady: () => print(`${node.describe()}\n`),
    });
  },
});
