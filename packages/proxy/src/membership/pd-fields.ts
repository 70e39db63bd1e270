import { z } from 'zod';
import { type PdHint, pdProtocolNames } from '../core/pd-facts.ts';

const port = z.number().int().min(1).max(65_535).optional();
const pdFields = z.object({
  pd_protocol: z.enum(pdProtocolNames).default('auto'),
  bootstrap_port: port,
  kv_port: port,
  engine_id: z.string().min(1).max(256).optional(),
  tp_size: z.number().int().positive().optional(),
  pp_size: z.number().int().positive().optional(),
});

/** What may be said of how an instance hands over, in `/instances/add` and in a file of instances. */
export const pdFieldNames: readonly string[] = Object.keys(pdFields.shape);

/** How an instance hands over by these of `fields`; null when not said, a text when it cannot be. */
export function pdHintIn(fields: Readonly<Record<string, unknown>>): PdHint | string | null {
  if (pdFieldNames.every((name) => fields[name] === undefined)) return null;
  const { data, error } = pdFields.safeParse(fields);
  if (data === undefined) {
    const [issue] = error.issues;
    return `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}.`;
  }
  if (data.pd_protocol === 'p2p_nccl' && data.kv_port === undefined) {
    return 'kv_port: p2p_nccl needs the port of its ZMQ socket.';
  }
  return {
    protocol: data.pd_protocol,
    bootstrapPort: data.bootstrap_port,
    kvPort: data.kv_port,
    engineId: data.engine_id,
    tensorParallelSize: data.tp_size,
    pipelineParallelSize: data.pp_size,
  };
}
