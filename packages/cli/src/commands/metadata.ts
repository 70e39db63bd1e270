import { formatAddress, optionTypes, Resource } from '@tsukimi/base';
import { MetadataServer } from '@tsukimi/metadata';
import { DirectoryLock } from '@tsukimi/transfer';
import { z } from 'zod';
import { defineCommand } from '../command.ts';

export const metadataCommand = defineCommand({
  options: {
    host: { schema: z.string().min(1).default('0.0.0.0'), doc: 'Address to listen on.' },
    port: { schema: optionTypes.port.default(8080), doc: 'Port to listen on.', aliases: ['p'] },
    dataDir: {
      schema: z.string().min(1).optional(),
      doc: 'Directory for a journal, so that a restart forgets nothing; memory alone when absent.',
    },
    help: { schema: optionTypes.flag, kind: 'flag', doc: 'Prints this text.', aliases: ['h'] },
  },
  async run({ host, port, dataDir = null }, { clock, logger, print, run }) {
    const lock = dataDir === null ? null : DirectoryLock.take(dataDir, '--data-dir');
    const server = new MetadataServer({ host, port, dataDirectory: dataDir, clock, logger });
    const claim = new Resource('data directory', async () => lock?.release());
    await run([claim, server], {
      shutdownTimeoutMs: 2_000,
      onReady: () =>
        print(
          `metadata server on http://${formatAddress({ host, port: server.port })}/metadata; it has no authentication: let only the cluster's machines reach it\n`,
        ),
    });
  },
});
