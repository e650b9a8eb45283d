/** What the service manager is told: sd_notify(3), by systemd's own command. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

type Environment = Readonly<Record<string, string | undefined>>;

/** How often to feed it, in milliseconds: a quarter of `WatchdogSec`, so that one may fail and another be late. */
export function watchdogEveryMs(env: Environment): number {
  return Number(env['WATCHDOG_USEC']) / 1000 / 4;
}

/**
 * Says that the work goes on. To be called by the work itself and not by a bare timer, every `watchdogEveryMs`:
 * whoever hangs stays silent, and is ended and started again.
 *
 * Node has no datagram sockets of the AF_UNIX family, so a short process says it; the unit allows that by
 * `NotifyAccess=all`. Where no watchdog watches, nothing is started.
 *
 * @returns true when systemd has taken the word. A false is answered by the watchdog, so it need not be reported.
 */
export async function feedWatchdog(env: Environment): Promise<boolean> {
  if (!env['NOTIFY_SOCKET'] || !env['WATCHDOG_USEC']) return false;
  const child = spawn('systemd-notify', ['WATCHDOG=1'], { env, stdio: 'ignore' });
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return code === 0;
  } catch {
    // It could not be started: the word was not said, which is what the caller is told.
    return false;
  }
}
