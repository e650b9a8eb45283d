/** Against systemd's own receiver of datagrams, which hands its socket to `cat`, and that writes what it hears. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { feedWatchdog, watchdogEveryMs } from '../../agent/base/notify.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-notify-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('feeding the watchdog', () => {
  it('says WATCHDOG=1 to the socket that the service was given', async () => {
    const socket = join(folder, 'notify');
    const command = ['sh', '-c', 'exec cat >&2'];
    const receiver = spawn('systemd-socket-activate', ['--datagram', '--inetd', `--listen=${socket}`, ...command]);
    const closed = once(receiver, 'close');
    try {
      await untilText(receiver.stderr, 'Listening on');
      const heard = untilText(receiver.stderr, 'WATCHDOG=1');
      expect(await feedWatchdog({ ...process.env, NOTIFY_SOCKET: socket, WATCHDOG_USEC: '300000000' })).toBe(true);
      await heard;
    } finally {
      receiver.kill();
      await closed;
    }
  });

  it.each([{}, { NOTIFY_SOCKET: '/run/no-such-socket' }, { WATCHDOG_USEC: '300000000' }])(
    'starts nothing where no watchdog watches: %o',
    async (env) => {
      expect(await feedWatchdog({ PATH: join(folder, 'nothing-here'), ...env })).toBe(false);
    },
  );

  it('is due four times within what systemd waits', () => {
    expect(watchdogEveryMs({ WATCHDOG_USEC: '300000000' })).toBe(75_000);
    expect(watchdogEveryMs({ WATCHDOG_USEC: '30000000' })).toBe(7_500);
  });

  it('tells that it was not heard, and does not fail, where the command is missing or nobody listens', async () => {
    const watched = { NOTIFY_SOCKET: join(folder, 'nobody'), WATCHDOG_USEC: '300000000' };
    expect(await feedWatchdog({ ...watched, PATH: folder })).toBe(false);
    expect(await feedWatchdog({ ...watched, PATH: process.env['PATH'] })).toBe(false);
  });
});

async function untilText(stream: Readable, wanted: string): Promise<void> {
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.includes(wanted)) return;
  }
  throw new Error(`ended without "${wanted}": ${text}`);
}
