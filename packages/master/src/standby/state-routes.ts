import { ErrorCode } from '@tsukimi/wire';
import { Hono } from 'hono';
import { type Role, roleName } from './role.ts';

const utf8Text = { 'content-type': 'text/plain; charset=utf-8' };

/** What a master says of its role, with the paths and bodies of Mooncake's. */
export function stateRoutes(app: Hono, role: () => Role): void {
  app.get('/health', (context) => {
    const { state, leader } = role();
    return context.json({
      status: 'ok',
      role: roleName(role()),
      ha_state: state,
      service_ready: state === 'serving',
      leader_address: leader?.address ?? null,
      view_version: leader?.version ?? null,
    });
  });
  app.get('/role', (context) => context.body(roleName(role()), 200, utf8Text));
  app.get('/ha_status', (context) => context.body(role().state, 200, utf8Text));
  app.get('/leader', (context) => {
    const { leader } = role();
    return context.json({
      present: leader !== null,
      leader_address: leader?.address ?? null,
      view_version: leader?.version ?? null,
    });
  });
}

/** The HTTP side of a master that does not lead: it tells its role, and has nothing else to tell. */
export function standbyApi(role: () => Role, metrics: () => string): Hono {
  const app = new Hono();
  stateRoutes(app, role);
  app.get('/metrics', (context) => {
    context.header('content-type', 'text/plain; version=0.0.4');
    return context.body(metrics());
  });
  app.get('/metrics/summary', (context) =>
    context.text(`role=standby, state=${role().state}, service_ready=false`),
  );
  app.notFound((context) =>
    context.json(
      {
        success: false,
        error_code: ErrorCode.UNAVAILABLE_IN_CURRENT_MODE,
        error_message: 'service plane is not active',
      },
      503,
    ),
  );
  return app;
}
