import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ControlHandler, ControlServer } from '../../agent/base/control.ts';
import { callControl } from '../../agent/base/control/client.ts';
import { controlPath } from '../../agent/base/control/address.ts';
import { ConnectorError } from '../../agent/model/errors.ts';

let folder: string;
let server: ControlServer | undefined;
let defects: unknown[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-control-'));
  defects = [];
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

async function serve(handlers: Record<string, ControlHandler>, path = controlPath(folder)): Promise<string> {
  server = await ControlServer.listen(path, { handlers, onDefect: (error) => void defects.push(error) });
  return path;
}

async function codeOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => 'no error',
    (error: unknown) => (error instanceof ConnectorError ? error.code : error),
  );
}

/** Lines as they come over the socket, for what the client would never send. */
async function exchange(path: string, text: string): Promise<string> {
  const socket = connect(path);
  socket.setEncoding('utf8');
  socket.write(text);
  const [line] = await once(socket, 'data');
  socket.destroy();
  return String(line);
}

describe('the control socket', () => {
  it('carries arguments, progress in order, and the result', async () => {
    const path = await serve({
      pull: async ({ args, progress }) => {
        for (const done of [1, 2, 3]) progress({ done });
        return { pulled: args['source'] };
      },
    });
    const seen: unknown[] = [];
    const result = await callControl(
      path,
      'pull',
      { source: 'ehr\nfeed' },
      { onProgress: (value) => void seen.push(value) },
    );
    expect(result).toEqual({ pulled: 'ehr\nfeed' });
    expect(seen).toEqual([{ done: 1 }, { done: 2 }, { done: 3 }]);
  });

  it('lets nobody but its owner in', async () => {
    const path = await serve({});
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('brings an error of the agent to the client as the same error', async () => {
    const path = await serve({
      ship: () => {
        throw new ConnectorError('RECORD_TOO_LARGE', { limitBytes: 5 });
      },
    });
    await expect(callControl(path, 'ship')).rejects.toMatchObject({
      code: 'RECORD_TOO_LARGE',
      details: { limitBytes: 5 },
      message: 'A record is larger than the 5 bytes allowed.',
    });
  });

  it('tells the agent of a defect and the client only that there was one', async () => {
    const path = await serve({
      ship: () => {
        throw new TypeError('架橋 太郎');
      },
    });
    const failure = callControl(path, 'ship');
    await expect(failure).rejects.toMatchObject({ code: 'CONTROL_FAILED' });
    await expect(failure).rejects.not.toThrow('太郎');
    expect(defects).toHaveLength(1);
  });

  it('refuses what it does not know, and what is no request, and goes on', async () => {
    const path = await serve({ status: () => 'well' });
    expect(await codeOf(callControl(path, 'toString'))).toBe('CONTROL_REFUSED');
    expect(await exchange(path, 'hello\n')).toContain('CONTROL_REFUSED');
    expect(await exchange(path, '{"id":1,"verb":"status"}\n')).toContain('CONTROL_REFUSED');
    expect(await callControl(path, 'status')).toBe('well');
  });

  it('does not gather a request without end', async () => {
    const path = await serve({ status: () => 'well' });
    expect(await exchange(path, 'x'.repeat(1024 * 1024 + 1))).toContain('at most 1048576 characters');
    expect(await callControl(path, 'status')).toBe('well');
  });

  it('refuses to send an answer longer than a frame', async () => {
    const path = await serve({ status: () => 'x'.repeat(1024 * 1024) });
    expect(await codeOf(callControl(path, 'status'))).toBe('CONTROL_REFUSED');
  });

  it('aborts the work of a client that has gone', async () => {
    const aborted = Promise.withResolvers<string>();
    const path = await serve({
      pull: ({ signal, progress }) => {
        signal.addEventListener('abort', () => aborted.resolve('aborted'));
        progress('begun');
        return aborted.promise;
      },
    });
    await exchange(path, '{"id":1,"verb":"pull","args":{}}\n');
    expect(await aborted.promise).toBe('aborted');
  });

  it('says that it may have been carried out when the agent stops in the middle', async () => {
    const begun = Promise.withResolvers<void>();
    const path = await serve({
      pull: () => {
        begun.resolve();
        return new Promise(() => undefined);
      },
    });
    const call = codeOf(callControl(path, 'pull'));
    await begun.promise;
    await server?.close();
    expect(await call).toBe('CONTROL_BROKEN');
  });

  it('says that no agent runs', async () => {
    expect(await codeOf(callControl(controlPath(folder), 'status'))).toBe('CONTROL_UNREACHABLE');
    expect(await codeOf(callControl(join(folder, 'no', 'such', 'folder'), 'status'))).toBe('CONTROL_UNREACHABLE');
  });

  it('replaces the socket file a killed agent left, but not one that answers', async () => {
    const path = controlPath(folder);
    await leaveStaleSocket(path);
    expect(await codeOf(callControl(path, 'status'))).toBe('CONTROL_UNREACHABLE');
    await serve({ status: () => 'well' });
    expect(await callControl(path, 'status')).toBe('well');
    expect(await codeOf(ControlServer.listen(path, { handlers: {}, onDefect: () => undefined }))).toBe('STATE_LOCKED');
  });

  it('works in a folder whose path is longer than a socket address', async () => {
    const deep = join(folder, 'x'.repeat(120), 'y'.repeat(120));
    mkdirSync(deep, { recursive: true });
    const path = await serve({ status: () => 'well' }, controlPath(deep));
    expect(await callControl(path, 'status')).toBe('well');
    expect(await callControl(path, 'status')).toBe('well');
    await server?.close();
    expect(await codeOf(callControl(path, 'status'))).toBe('CONTROL_UNREACHABLE');
  });
});

/** What `kill -9` leaves: a file in the place of the socket and nobody behind it. */
async function leaveStaleSocket(path: string): Promise<void> {
  const other = `${path}.old`;
  const dead = createServer();
  dead.listen(other);
  await once(dead, 'listening');
  const { renameSync } = await import('node:fs');
  renameSync(other, path);
  await new Promise((resolve) => {
    dead.close(resolve);
  });
}
