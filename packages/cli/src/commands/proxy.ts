import { createProxy, loadTracer, proxyOptions } from '@tsukimi/proxy';
import { defineCommand } from '../command.ts';

export const proxyCommand = defineCommand({
  name: 'proxy',
  summary: 'Sends each request to a prefill, then to a decode instance, and survives their deaths.',
  options: proxyOptions,
  async run(options, { clock, random, logger, env, print, run }) {
    const tracer = await loadTracer(env);
    await run(createProxy(options, { clock, random, logger, env, print, tracer }), {
      shutdownTimeoutMs: options.shutdownTimeout * 1_000,
      onReady: () =>
        print(
          `proxy on http://${options.host}:${options.port}; whoever reaches this address may use the instances\n`,
        ),
    });
  },
});
