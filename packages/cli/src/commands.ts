import type { Command } from './command.ts';

interface CommandEntry {
  /** One or two words. */
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

/** All subcommands. What one needs is loaded only to run it: a proxy has no use for an engine's memory. */
export const commands: readonly CommandEntry[] = [
  {
    name: 'up',
    summary: 'The whole cluster on this machine: metadata server, master, instances and proxy.',
    load: async () => (await import('./commands/up.ts')).upCommand,
  },
  {
    name: 'metadata',
    summary: "Mooncake's HTTP metadata server: where transfer engines find each other.",
    load: async () => (await import('./commands/metadata.ts')).metadataCommand,
  },
  {
    name: 'master',
    summary: "Mooncake's master: which objects the store holds and where their copies lie.",
    load: async () => (await import('./commands/master.ts')).masterCommand,
  },
  {
    name: 'store',
    summary: 'A storage node: lends memory to the store, with a REST interface to objects.',
    load: async () => (await import('./commands/store.ts')).storeCommand,
  },
  {
    name: 'serve',
    summary: 'An instance: one model behind the OpenAI API, alone or sharing KV through the store.',
    load: async () => (await import('./commands/serve.ts')).serveCommand,
  },
  {
    name: 'proxy',
    summary:
      'Sends each request to a prefill, then to a decode instance, and survives their deaths.',
    load: async () => (await import('./commands/proxy.ts')).proxyCommand,
  },
  {
    name: 'bench transfer',
    summary: "Measures transfers between engines, ours or Mooncake's transfer_engine_bench.",
    load: async () => (await import('./commands/bench-transfer.ts')).benchTransferCommand,
  },
];
