import { Fault, type Service } from '@tsukimi/base';
import type { Tracer } from './tracer.ts';

/**
 * What `OTEL_EXPORTER_OTLP_ENDPOINT` (or that of traces alone) asks for; null without it, and then none of
 * OpenTelemetry is loaded. `OTEL_TRACES_SAMPLER_ARG` says which part of requests is recorded, where the
 * client does not. Throws `MISCONFIGURED` for values that cannot be used.
 */
export async function loadTracer(
  env: Readonly<Record<string, string | undefined>>,
): Promise<(Tracer & Service) | null> {
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  if (endpoint === undefined || endpoint === '') return null;
  if (env['OTEL_SDK_DISABLED'] === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none') return null;
  const given = env['OTEL_TRACES_SAMPLER_ARG'] ?? '';
  const sampledRatio = given === '' ? 1 : Number(given);
  if (!(sampledRatio >= 0 && sampledRatio <= 1)) {
    throw new Fault('MISCONFIGURED', `OTEL_TRACES_SAMPLER_ARG: "${given}" is not from 0 to 1`);
  }
  const { OtlpTracer } = await import('./otlp-tracer.ts');
  return new OtlpTracer({ endpoint, sampledRatio });
}
