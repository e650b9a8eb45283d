/** What the kernel says of the machine and of single processes. Linux. */
import { readFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { systemClock } from '../../agent/base/clock.ts';
import { type Quietness, rounded } from './measure.ts';

/** USER_HZ; 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** Long enough to see what others do, short enough to be done before every round. */
const watchMs = 500;

export async function quietness(): Promise<Quietness> {
  const before = busyMs();
  const startedAt = performance.now();
  await systemClock.sleep(watchMs);
  const busyCores = (busyMs() - before) / (performance.now() - startedAt);
  return { load: rounded(loadavg()[0] ?? 0), busyCores: rounded(Math.max(0, busyCores)) };
}

function busyMs(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
}

export interface Memory {
  /** Resident now. */
  readonly residentMb: number;
  /** The most that was ever resident, since the process began. */
  readonly peakMb: number;
}

export async function memoryOf(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const megabytes = (name: string) => {
    const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
    if (kibibytes === undefined) throw new Error(`the kernel does not tell ${name} of process ${pid}`);
    return (Number(kibibytes) * 1024) / 1e6;
  };
  return { residentMb: megabytes('VmRSS'), peakMb: megabytes('VmHWM') };
}

/** Of all threads, in the kernel and outside it, since the process began. */
export async function cpuMsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The second field is a name in parentheses that may hold blanks; utime and stime are the 14th and 15th.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
}
