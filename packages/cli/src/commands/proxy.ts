import cluster from 'node:cluster';
import {
  createProxy,
  loadPolicies,
  loadTracer,
  type ProxyOptions,
  proxyOptions,
} from '@tsukimi/proxy';
import { defineCommand } from '../command.ts';
import { WorkerGroup } from '../workers/worker-group.ts';
import { WorkerPeers } from '../workers/worker-peers.ts';

export const proxyCommand = defineCommand({
  options: proxyOptions,
  async run(options, context) {
    const { clock, random, logger, env, print } = context;
    const shutdownTimeoutMs = options.shutdownTimeout * 1_000;
    const { workers: workerCount } = options;
    const onReady = () => print(greeting(options));
    if (workerCount > 1 && cluster.isPrimary) {
      const group = new WorkerGroup({ workerCount, clock, logger });
      // The workers themselves keep the time; this is for one that does not.
      await context.run([group], {
        shutdownTimeoutMs: shutdownTimeoutMs + workerGraceMs,
        onReady,
      });
      return;
    }
    const tracer = await loadTracer(env);
    const policies = await loadPolicies(options, logger);
    const parts = { clock, random, logger, env, print, tracer, policies };
    const { worker } = cluster;
    if (worker === undefined) {
      await context.run(await createProxy(options, parts), { shutdownTimeoutMs, onReady });
      return;
    }
    const peers = new WorkerPeers({ worker, workerCount, clock });
    await context.run(await createProxy(options, { ...parts, peers }), {
      shutdownTimeoutMs,
      onReady: () => peers.ready(),
    });
  },
});

const workerGraceMs = 3_000;

function greeting({ host, port, sslCertfile }: ProxyOptions): string {
  const scheme = sslCertfile === undefined ? 'http' : 'https';
  return `proxy on ${scheme}://${host}:${port}; whoever reaches this address may use the instances\n`;
}
