import type { Service } from '@tsukimi/base';
import type { Tracer } from './tracer.ts';

/**
 * What `OTEL_EXPORTER_OTLP_ENDPOINT` (or that of traces alone) asks for; null without it, and then none of
 * OpenTelemetry is loaded. Throws `MISCONFIGURED` for an endpoint that is no URL.
 */
export async function loadTracer(
  env: Readonly<Record<string, string | undefined>>,
): Promise<(Tracer & Service) | null> {
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  if (endpoint === undefined || endpoint === '') return null;
  if (env['OTEL_SDK_DISABLED'] === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none') return null;
  const { OtlpTracer } = await import('./otlp-tracer.ts');
  return new OtlpTracer({ endpoint });
}
