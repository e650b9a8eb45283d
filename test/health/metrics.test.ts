import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { metricsServer, type Status, type StatusInputs } from '../../agent/health/index.ts';
import { expose } from '../../agent/health/metrics.ts';
import { isError } from '../../agent/model/errors.ts';
import { statusWith } from './sample-status.ts';

const unavailable = expect.toSatisfy((error) => isError(error, 'METRICS_UNAVAILABLE'));
const servers: ReturnType<typeof metricsServer>[] = [];

afterEach(() => Promise.all(servers.splice(0).map((server) => server.stop())));

async function serve(status: Status): Promise<number> {
  const server = metricsServer(() => status);
  servers.push(server);
  return (await server.listen({ host: '127.0.0.1', port: 0 })).port;
}

async function get(
  port: number,
  path: string,
  options: { host?: string; method?: string } = {},
): Promise<{ code: number; body: string; type: string }> {
  const headers = { Host: options.host ?? `127.0.0.1:${port}` };
  const asked = request({ host: '127.0.0.1', port, path, method: options.method ?? 'GET', headers }).end();
  const answer = await new Promise<IncomingMessage>((resolve) => asked.once('response', resolve));
  return { code: answer.statusCode ?? 0, body: await text(answer), type: answer.headers['content-type'] ?? '' };
}

/** Prometheus' own checker of the text format. */
function check(metrics: string): string {
  const { status, stdout, stderr, error } = spawnSync('promtool', ['check', 'metrics'], {
    input: metrics,
    encoding: 'utf8',
  });
  if (error) throw new Error('promtool is needed for this test: apt-get install -y prometheus');
  return status === 0 ? stdout + stderr : `exit ${status}: ${stdout}${stderr}`;
}

describe('the metrics', () => {
  const broken: Partial<StatusInputs> = {
    quarantined: 3,
    isPaused: true,
    certificates: [{ name: 'quote " and \\ and\nnew line', notAfter: 0 }],
    sources: [],
  };

  it.each([{}, broken])('are to the taste of promtool', (changes) => {
    expect(check(expose(statusWith(changes)))).toBe('');
  });

  it('would not be, with a label that is not escaped', () => {
    expect(check('# HELP a b\n# TYPE a gauge\na{b="c"d"} 1\n')).toMatch(/^exit/);
  });

  it('show exact numbers under the configured names: they stay in the hospital', () => {
    const lines = expose(statusWith()).split('\n');
    expect(lines).toContain('kakehashi_deliveries{state="stopped"} 7');
    expect(lines).toContain('kakehashi_source_queued_records{source="ehr-feed",lane="text"} 1234');
    expect(lines).toContain('kakehashi_state{state="ok"} 1');
    expect(lines).toContain('kakehashi_state{state="safe"} 0');
    expect(lines).toContain('kakehashi_events_total{event="parcel.stored"} 25');
  });
});

describe('the metrics server', () => {
  it('answers /metrics and /healthz, and nothing else', async () => {
    const port = await serve(statusWith());
    const metrics = await get(port, '/metrics');
    expect(metrics).toMatchObject({ code: 200, type: 'text/plain; version=0.0.4; charset=utf-8' });
    expect(metrics.body).toBe(expose(statusWith()));
    expect(await get(port, '/healthz')).toMatchObject({ code: 200, body: 'ok\n' });
    expect((await get(port, '/')).code).toBe(404);
    expect((await get(port, '/metrics/../etc/passwd')).code).toBe(404);
    expect((await get(port, '/metrics', { method: 'POST' })).code).toBe(405);
  });

  it('says 503 in safe mode and after a fault, and 200 while it only wants attention or is paused', async () => {
    const codeWith = async (changes: Partial<StatusInputs>) =>
      (await get(await serve(statusWith(changes)), '/healthz')).code;
    expect(await codeWith({ isSafeMode: true })).toBe(503);
    expect(await codeWith({ fault: 'STATE_UNSAFE' })).toBe(503);
    expect(await codeWith({ isPaused: true })).toBe(200);
    expect(await codeWith({ quarantined: 1 })).toBe(200);
  });

  it('does not answer a web page that gave this machine another name', async () => {
    const port = await serve(statusWith());
    expect(await get(port, '/metrics', { host: 'evil.example' })).toMatchObject({
      code: 421,
      body: expect.stringContaining('HOST_REFUSED'),
    });
    expect((await get(port, '/metrics', { host: `localhost:${port}` })).code).toBe(200);
  });

  it('does not listen for other machines', async () => {
    const server = metricsServer(() => statusWith());
    for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.jp']) {
      await expect(server.listen({ host, port: 0 })).rejects.toEqual(unavailable);
    }
  });

  it('says so when its port is taken', async () => {
    const port = await serve(statusWith());
    await expect(metricsServer(() => statusWith()).listen({ host: '127.0.0.1', port })).rejects.toEqual(unavailable);
  });

  it('refuses a header larger than any it needs', async () => {
    const port = await serve(statusWith());
    const socket = connect(port, '127.0.0.1');
    socket.write(`GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(await text(socket)).toMatch(/^HTTP\/1.1 431 /);
  });

  it('lets no more than sixteen hang, and stops at once whoever hangs', async () => {
    const port = await serve(statusWith());
    const sockets = Array.from({ length: 16 }, () => connect(port, '127.0.0.1'));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    const closed = sockets.map((socket) => once(socket, 'close'));
    const late = connect(port, '127.0.0.1');
    // The one too many is hung up on without a word.
    expect(await text(late).catch(() => '')).toBe('');
    for (const socket of sockets) socket.on('error', () => undefined).resume();
    await servers[0]?.stop();
    await Promise.all(closed);
    await servers[0]?.stop();
  });
});
