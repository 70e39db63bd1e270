import { appendFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { formatAddress, LineLogger } from '@tsukimi/base';
import { removeStaleSegments } from '@tsukimi/transfer';
import { type CommandContext, defineCommand } from '../command.ts';
import { makeAdminKey } from '../up/admin-key.ts';
import type { Child } from '../up/child.ts';
import { planCluster } from '../up/cluster-plan.ts';
import { checkPortsAreFree } from '../up/free-ports.ts';
import { checkClusterMemory } from '../up/memory-check.ts';
import { type UpOptions, upOptions } from '../up/options.ts';
import { RunDirectory } from '../up/run-directory.ts';
import { Supervisor } from '../up/supervisor.ts';

const readyWithinMs = 60_000;
const shutdownTimeoutMs = 10_000;

export const upCommand = defineCommand({
  options: upOptions,
  run,
});

async function run(options: UpOptions, context: CommandContext): Promise<void> {
  const { maxModelLen } = await checkClusterMemory(options);
  const directory = new RunDirectory(options.runDirectory, options.port);
  const cluster = planCluster(options, {
    mooncakeConfigPath: directory.mooncakeConfigPath,
    maxModelLen,
    coreCount: availableParallelism(),
  });
  // Before its folder is touched: whoever has these ports may be a cluster that runs from it.
  await checkPortsAreFree(cluster.children);
  for (const name of ['up', ...cluster.children.map((child) => child.name)])
    directory.clearLog(name);
  directory.writeMooncakeConfig(cluster.mooncakeConfig);
  removeStaleSegments();
  const adminKey = options.adminApiKey ?? makeAdminKey(context.random);
  const supervisor = new Supervisor({
    cluster,
    programPath: context.programPath,
    nodePath: process.execPath,
    env: { ...context.env, ADMIN_API_KEY: adminKey },
    clock: context.clock,
    logger: new LineLogger(context.clock, (line) => appendFileSync(directory.logPath('up'), line)),
    logPathOf: (child) => directory.logPath(child),
    lastWordsOf: (child) => directory.lastWords(child),
    readyWithinMs,
    until: context.stopRequested,
    onChange: (child) => context.print(describeChange(child)),
    // Whoever was killed could not remove its own shared memory.
    onExit: () => removeStaleSegments(),
  });
  await context.run([supervisor], {
    shutdownTimeoutMs,
    onReady: () => {
      context.print(describeTable(supervisor.children));
      context.print(`logs in ${directory.path}\n`);
      if (options.adminApiKey === undefined) context.print(`admin key (X-API-Key): ${adminKey}\n`);
      context.print(
        `ready ${cluster.proxyUrl} try: ${exampleRequest(cluster.proxyUrl, options.model)}\n`,
      );
    },
  });
  removeStaleSegments();
}

function describeTable(children: readonly Child[]): string {
  const rows = [
    ['PROCESS', 'PID', 'ADDRESS', 'STATE'],
    ...children.map(({ plan, pid, state }) => [
      plan.name,
      String(pid),
      formatAddress(plan.address),
      state.state,
    ]),
  ];
  const widths = [0, 1, 2].map(
    (column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)) + 2,
  );
  return rows
    .map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('')}\n`)
    .join('');
}

function describeChange({ plan, pid, state }: Child): string {
  switch (state.state) {
    case 'restarting':
      return `${plan.name} died (${state.reason}); starting it again in ${state.inMs / 1_000} s\n`;
    case 'ready':
      return `${plan.name} is ready again, pid ${pid}\n`;
    case 'refused':
      return `${plan.name} refuses to start again; its log says why\n`;
    case 'starting':
    case 'stopped':
      return '';
  }
}

function exampleRequest(url: string, model: string): string {
  const body = JSON.stringify({ model, prompt: 'San Francisco is a', max_tokens: 60 });
  return `curl -s ${url}/v1/completions -H "Content-Type: application/json" -d '${body}'`;
}
