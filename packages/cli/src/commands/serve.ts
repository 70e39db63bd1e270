import { createInstance, serveOptions } from '@tsukimi/instance';
import { defineCommand } from '../command.ts';

export const serveCommand = defineCommand({
  options: serveOptions,
  async run(options, { clock, random, logger, env, version, print, run }) {
    const instance = await createInstance(options, { clock, random, logger, env, version });
    for (const notice of instance.notices) logger.info('serve.notice', { notice });
    await run(instance.services, {
      shutdownTimeoutMs: options.shutdownTimeout * 1_000,
      onReady: () =>
        print(
          `${instance.modelName} on http://${options.host}:${instance.server.port}, ${instance.maxModelLen} tokens; whoever reaches this address may use it\n`,
        ),
    });
  },
});
