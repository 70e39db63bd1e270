import { ErrorCode, SegmentStatus } from '@tsukimi/wire';
import { Hono } from 'hono';
import type { MasterCore } from '../core/master-core.ts';
import type { SegmentView } from '../core/segment-view.ts';
import { plainText, refusal } from './admin-answers.ts';

const statusNames = new Map<number, string>(
  Object.entries(SegmentStatus).map(([name, status]) => [status, name]),
);

/** What is mounted, at the paths and in the bodies of Mooncake. */
export function segmentRoutes(core: MasterCore): Hono {
  const app = new Hono();
  app.get('/get_all_segments', (context) => {
    const names = core.segments().map(({ name }) => `${name}\n`);
    return plainText(context, names.join(''));
  });
  app.get('/get_segments_detail', (context) => {
    const all = core.segments();
    const uses = usesByName(all);
    const segments = all.map((segment) => describe(segment, uses.get(segment.name) as Use));
    return context.json({ total_segments: segments.length, segments });
  });
  app.get('/query_segment', (context) => {
    const name = context.req.query('segment') ?? '';
    const use = usesByName(core.segmentsNamed(name)).get(name);
    if (use === undefined) return plainText(context, 'Failed to query segment', 500);
    const { used, capacity } = use;
    return plainText(context, `${name}\nUsed(bytes): ${used}\nCapacity(bytes) : ${capacity}\n`);
  });
  app.get('/api/v1/segments/status', (context) => {
    const segment = context.req.query('segment') ?? '';
    if (segment === '') {
      return refusal(context, ErrorCode.INVALID_PARAMS, 'Missing segment query parameter');
    }
    const found = core.segmentStatus(segment);
    if ('error' in found) return refusal(context, found.error);
    return context.json({
      success: true,
      segment,
      status: found.ok,
      status_name: statusNames.get(found.ok),
      error_code: 0,
      error_message: '',
    });
  });
  return app;
}

interface Use {
  readonly used: number;
  readonly capacity: number;
}

/** Bytes of all segments of a name together. */
export function usesByName(segments: readonly SegmentView[]): Map<string, Use> {
  const uses = new Map<string, Use>();
  for (const { name, usedByteCount, capacityByteCount } of segments) {
    const { used, capacity } = uses.get(name) ?? { used: 0, capacity: 0 };
    uses.set(name, { used: used + usedByteCount, capacity: capacity + capacityByteCount });
  }
  return uses;
}

function describe(segment: SegmentView, { used, capacity }: Use): object {
  const { capacityByteCount } = segment;
  return {
    segment_name: segment.name,
    segment_id: segment.id,
    client_id: segment.owner,
    base_address: `0x${segment.base.toString(16)}`,
    size_bytes: capacityByteCount,
    size_human: `${shortNumber(capacityByteCount / 2 ** 30)} GiB`,
    te_endpoint: segment.teEndpoint,
    protocol: segment.protocol,
    status: statusNames.get(segment.status),
    allocator_used_bytes: used,
    allocator_capacity_bytes: capacity,
    allocator_usage_percent: (used / capacity) * 100,
  };
}

/** With six digits, as a C++ stream writes it. */
function shortNumber(value: number): string {
  const [digits = '', exponent = ''] = value.toExponential(5).split('e');
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(value.toPrecision(6)));
  const sign = power < 0 ? '-' : '+';
  return `${Number(digits)}e${sign}${String(Math.abs(power)).padStart(2, '0')}`;
}
